"""Damaged model files, and files of something else, are refused."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")


from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

import arraymlp
from arraymlp import Dropout, MLPClassifier, MLPRegressor, ModelFileError
from arraymlp.nn.losses import get_loss
from model_files import apart, sealed
from problems import labels, numbers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = labels()
SMALL: dict[str, Any] = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def classifier(y: Any = Y, **parameters: Any) -> Any:
    return MLPClassifier(**{**SMALL, **parameters}).fit(X, y)


def regressor(y: Any = None, **parameters: Any) -> Any:
    return MLPRegressor(**{**SMALL, **parameters}).fit(X, numbers()[1][:, 0] if y is None else y)


LOSS = get_loss("softmax_cross_entropy")


def refused(content: bytes | None, path: Path, Estimator: Any = MLPClassifier) -> str | None:
    """How a file with such content is refused; None where it is loaded and predicts."""
    if content is not None:
        path.write_bytes(content)
    try:
        loaded = Estimator.load(path)
    except ModelFileError as error:
        message = str(error)
    else:
        loaded.predict(X)
        return None
    assert message.startswith(f"{path}: ")
    return message


def test_a_file_that_is_absent_is_an_os_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        MLPClassifier.load(path)


def test_a_file_of_the_other_class_is_refused(path: Path) -> None:
    classifier().save(path)
    message = refused(None, path, MLPRegressor)
    assert message is not None
    assert "it holds an MLPClassifier, not an MLPRegressor" in message
    regressor().save(path)
    message = refused(None, path)
    assert message is not None
    assert "it holds an MLPRegressor, not an MLPClassifier" in message


def test_a_file_of_a_network_is_refused(path: Path) -> None:
    arraymlp.save(classifier().network_, path)
    message = refused(None, path)
    assert message is not None
    assert "it holds a network alone, not an MLPClassifier" in message


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good file of three named classes, in a folder that damaged ones may be written to."""
    file = tmp_path_factory.mktemp("models") / "good.safetensors"
    with pytest.warns(match="Maximum iterations"):
        classifier(np.array(["a", "b", "c"])[Y], loss=LOSS, dropout=Dropout(0.1)).save(file)
    return file


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_every_truncated_file_is_refused(data: st.DataObject, good: Path) -> None:
    content = good.read_bytes()
    size = data.draw(st.integers(0, len(content) - 1))
    assert refused(content[:size], good.with_name("short.safetensors")) is not None


@pytest.mark.parametrize("content", [b"", b"no model", b"\0" * 1000, b"PK\3\4" * 100], ids=len)
def test_what_is_no_such_file_is_refused(content: bytes, path: Path) -> None:
    assert refused(content, path) is not None


Header = dict[str, Any]


def put(*keys: str, to: Any) -> Callable[[Header], None]:
    """Set an entry of the estimator's part of the header."""

    def damage(header: Header) -> None:
        part = header["estimator"]
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = to

    return damage


def drop(*keys: str) -> Callable[[Header], None]:
    """Leave out an entry of the estimator's part of the header."""

    def damage(header: Header) -> None:
        part = header["estimator"]
        for key in keys[:-1]:
            part = part[key]
        del part[keys[-1]]

    return damage


def replace_estimator(by: Any) -> Callable[[Header], None]:
    return lambda header: header.update(estimator=by)


def strings(*values: Any) -> dict[str, Any]:
    return {"array": list(values), "dtype": "<U1"}


DAMAGE: dict[str, tuple[Callable[[Header], None], str]] = {
    "no estimator": (replace_estimator(None), "a network alone"),
    "estimator list": (replace_estimator([]), "must be an object"),
    "estimator text": (replace_estimator("MLPClassifier"), "must be an object"),
    "no kind": (drop("kind"), "not an MLPClassifier"),
    "other kind": (put("kind", to="MLP"), "it holds an MLP, not an MLPClassifier"),
    "kind list": (put("kind", to=["MLPClassifier"]), "not an MLPClassifier"),
    "no parameters": (drop("parameters"), "lacks parameters"),
    "parameters list": (put("parameters", to=[]), "must be an object"),
    "parameters null": (put("parameters", to=None), "must be an object"),
    "no fitted": (drop("fitted"), "lacks fitted"),
    "fitted text": (put("fitted", to="yes"), "must be an object"),
    "unknown parameter": (put("parameters", "momentums", to=1), "momentums"),
    "unknown attribute": (put("fitted", "coefs_", to=[]), "coefs_"),
    "private attribute": (put("fitted", "__class__", to=1), "__class__"),
    "object unknown": (put("parameters", "alpha", to={"pickle": "gASV"}), "not readable"),
    "object empty": (put("parameters", "alpha", to={}), "not readable"),
    "mapping number": (put("parameters", "class_weight", to={"mapping": 1}), "not readable"),
    "mapping flat": (put("parameters", "class_weight", to={"mapping": [1, 2]}), "not readable"),
    "mapping by lists": (
        put("parameters", "class_weight", to={"mapping": [[{"mapping": []}, 2]]}),
        "not readable",
    ),
    "unknown loss": (put("parameters", "loss", "loss", to="softmax"), "not readable"),
    "loss number": (put("parameters", "loss", "loss", to=1), "not readable"),
    "loss without parameters": (drop("parameters", "loss", "parameters"), "not readable"),
    "loss of other parameters": (
        put("parameters", "loss", "parameters", to={"threshold": 1}),
        "not readable",
    ),
    "dropout unknown": (put("parameters", "dropout", "dropout", to={"p": 0.5}), "not readable"),
    "dropout too high": (put("parameters", "dropout", "dropout", to={"hidden": 2}), "not readable"),
    "dropout number": (put("parameters", "dropout", "dropout", to=0.5), "not readable"),
    "array without dtype": (drop("fitted", "classes", "dtype"), "not readable"),
    "array of unknown dtype": (put("fitted", "classes", "dtype", to="text"), "not readable"),
    "array of dates": (put("fitted", "classes", "dtype", to="<M8[s]"), "not readable"),
    "array of records": (put("fitted", "classes", "dtype", to="i8,f8"), "not readable"),
    "array nested": (put("fitted", "classes", "array", to=[["a"], ["b"]]), "not readable"),
    "array ragged": (put("fitted", "classes", "array", to=["a", ["b"]]), "not readable"),
    "array number": (put("fitted", "classes", "array", to=1), "not readable"),
    "array of texts as numbers": (put("fitted", "classes", "dtype", to="<i8"), "not readable"),
    "array of half a gigabyte": (
        put("fitted", "classes", "dtype", to="<U500000000"),
        "an array of 3 <U500000000",
    ),
    "array of texts as wide as one": (
        put("fitted", "classes", to={"array": ["a"] * 2**15, "dtype": "<U513"}),
        "an array of 32768 <U513",
    ),
    "array cut off": (put("fitted", "classes", to=strings("ant", "bee", "cat")), "none of <U1"),
    "array dtype list": (put("fitted", "classes", "dtype", to=["<U1"]), "a dtype"),
    "array dtype no syntax": (put("fitted", "classes", "dtype", to="<U1,("), "a dtype"),
    "array of fractions": (
        put("fitted", "classes", to={"array": [0, 1.5, 2], "dtype": "<i8"}),
        "none of int64",
    ),
    "number no number": (put("parameters", "alpha", to={"number": "1e3"}), "inf, -inf or nan"),
    "object of two kinds": (put("parameters", "alpha", to={"number": "inf", "loss": ""}), "object"),
    "dropout with more": (
        put("parameters", "dropout", "dropout", to={"hidden": 0, "input": 0, "p": 0.5}),
        "'p'",
    ),
    "dropout infinite": (put("parameters", "alpha", to=1e999), "not finite"),
    # Parameters and attributes that no fit would have
    "dtype unknown": (put("parameters", "dtype", to="uto"), "'dtype' parameter"),
    "alpha text": (put("parameters", "alpha", to="0"), "'alpha' parameter"),
    "alpha NaN": (put("parameters", "alpha", to={"number": "nan"}), "'alpha' parameter"),
    "activation unknown": (put("parameters", "activation", to=["rleu"]), "rleu"),
    "activations too many": (put("parameters", "activation", to=["relu"] * 3), "3 names for 1"),
    "hidden sizes of text": (put("parameters", "hidden_layer_sizes", to=["5"]), "whole numbers"),
    "iterations text": (put("fitted", "n_iter_", to="3"), "must be a whole number"),
    "iterations negative": (put("fitted", "n_iter_", to=-3), "must be a whole number"),
    "no iterations": (drop("fitted", "n_iter_"), "lacks n_iter_"),
    "loss text": (put("fitted", "loss_", to="0"), "must be a number"),
    "curve number": (put("fitted", "loss_curve_", to=3), "must be numbers"),
    "curve of text": (put("fitted", "loss_curve_", to=["3"]), "must be numbers"),
    "names of numbers": (
        put("fitted", "feature_names_in_", to={"array": [1, 2, 3, 4], "dtype": "<i8"}),
        "must be names",
    ),
    # What is readable, and does not belong to this network
    "other layers": (put("fitted", "n_layers_", to=4), "4 layers"),
    "other outputs": (put("fitted", "n_outputs_", to=4), "4 outputs"),
    "no classes": (drop("fitted", "classes"), ""),
    "not whether several": (drop("fitted", "several"), ""),
    "neither": (lambda h: [h["estimator"]["fitted"].pop(k) for k in ("classes", "several")], ""),
    "classes number": (put("fitted", "classes", to=3), ""),
    "classes too few": (put("fitted", "classes", to=strings("a", "b")), ""),
    "classes too many": (put("fitted", "classes", to=strings("a", "b", "c", "d")), ""),
    "classes descending": (put("fitted", "classes", to=strings("c", "b", "a")), ""),
    "classes twice": (put("fitted", "classes", to=strings("a", "a", "b")), ""),
    "several of softmax": (put("fitted", "several", to=True), ""),
    "no width": (drop("fitted", "n_features_in_"), ""),
    "other width": (put("fitted", "n_features_in_", to=5), ""),
    "too few names": (put("fitted", "feature_names_in_", to=strings("a", "b")), ""),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_header_is_refused(
    damage: Callable[[Header], None], words: str, good: Path
) -> None:
    header, tensors = apart(good.read_bytes())
    damage(header)
    damaged = sealed(header, tensors)
    message = refused(damaged, good.with_name("damaged.safetensors"))
    assert message is not None
    assert words in message


def test_the_undamaged_header_is_that_of_a_good_file(good: Path) -> None:
    same = sealed(*apart(good.read_bytes()))
    assert same == good.read_bytes()
    assert refused(same, good.with_name("same.safetensors")) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a"', "[" * 100_000], ids=len)
def test_a_header_that_is_no_json_object_is_refused(text: str, good: Path) -> None:
    damaged = to_bytes(from_bytes(good.read_bytes()), {"arraymlp": text})
    assert refused(damaged, good.with_name("damaged.safetensors")) is not None


def test_a_file_that_claims_half_a_gigabyte_is_refused_for_nothing(good: Path) -> None:
    header, tensors = apart(good.read_bytes())
    put("fitted", "classes", "dtype", to="<U500000000")(header)
    content = sealed(header, tensors)
    tracemalloc.start()
    try:
        assert refused(content, good.with_name("damaged.safetensors")) is not None
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_class_names_are_not_cut_by_a_flipped_bit(good: Path) -> None:
    content = good.read_bytes()
    assert content.count(b"<U1") == 1
    message = refused(content.replace(b"<U1", b"<U0"), good.with_name("damaged.safetensors"))
    assert message is not None
    assert "it is damaged" in message


@pytest.mark.parametrize("back", [1, 50, 100])
def test_a_flipped_bit_in_the_weights_is_noticed(back: int, good: Path) -> None:
    content = bytearray(good.read_bytes())
    content[-back] ^= 1
    message = refused(bytes(content), good.with_name("damaged.safetensors"))
    assert message is not None
    assert "it is damaged" in message


# What is read, and what is not saved


def test_a_parameter_that_a_file_lacks_has_its_default(path: Path) -> None:
    classifier(alpha=0.5, dropout=0.25).save(path)
    header, tensors = apart(path.read_bytes())
    del header["estimator"]["parameters"]["dropout"]  # as one that came after the file
    path.write_bytes(sealed(header, tensors))
    loaded = MLPClassifier.load(path)
    assert (loaded.alpha, loaded.dropout) == (0.5, 0.0)


@pytest.mark.parametrize(
    "parameters",
    [{"alpha": 1j}, {"dtype": "uto"}, {"activation": ("relu", "tanh")}],
    ids=str,
)
def test_what_no_fit_would_take_is_not_saved(parameters: dict[str, Any], path: Path) -> None:
    with pytest.raises(ValueError, match=next(iter(parameters))):
        classifier().set_params(**parameters).save(path)
    assert not path.exists()
