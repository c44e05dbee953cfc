"""Damaged model files, and files of something else, are refused, and cost nothing."""

import json
import os
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as to_bytes

from arraymlp import ModelFileError, MultilayerPerceptron, load, resolve, save
from arraymlp.nn.scaling import Scaling
from arraymlp.training.tensor_file import write_parts
from model_files import apart, sealed


def network(**given: Any) -> MultilayerPerceptron:
    """A small network, on NumPy."""
    return MultilayerPerceptron.create((4, 5, 3), backend=resolve("numpy"), **given)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def test_a_file_that_is_absent_is_an_os_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load(path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good file, in a folder that damaged ones may be written to."""
    file = tmp_path_factory.mktemp("models") / "good.safetensors"
    scaling = Scaling(np.arange(4.0), np.arange(1.0, 5))
    names = ("a", "b", "c", "d")
    save(network(classes=np.array([2, 7, 30]), inputs=scaling, features=names), file)
    return file


def complaint(content: bytes, good: Path) -> str | None:
    """How `load` refuses such a file; None where it is loaded. No other exception may leave it."""
    file = good.with_name("damaged.safetensors")
    file.write_bytes(content)
    try:
        load(file)
    except ModelFileError as error:
        message = str(error)
    else:
        return None
    assert message.startswith(f"{file}: ")
    return message


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_every_truncated_file_is_refused(data: st.DataObject, good: Path) -> None:
    content = good.read_bytes()
    length = data.draw(st.integers(0, len(content) - 1))
    assert complaint(content[:length], good)


@settings(max_examples=50, deadline=None)
@given(rest=st.binary(min_size=1))
def test_a_file_that_goes_on_is_refused(rest: bytes, good: Path) -> None:
    assert complaint(good.read_bytes() + rest, good)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_changed_header_is_refused_or_harmless(data: st.DataObject, good: Path) -> None:
    content = bytearray(good.read_bytes())
    end = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    complaint(bytes(content), good)


@settings(max_examples=100, deadline=None)
@given(content=st.binary())
def test_any_other_file_is_refused(content: bytes, good: Path) -> None:
    assert complaint(content, good)


def test_an_untouched_file_is_put_together_the_same(good: Path) -> None:
    assert sealed(*apart(good.read_bytes())) == good.read_bytes()


def test_the_bytes_are_those_that_the_library_would_write(path: Path) -> None:
    tensors = {
        'b"\\ä\n\x7f': np.ones((2, 3), np.float32),
        "é": np.arange(3, dtype=np.uint8),
        "a": np.ones(1),
        "Z": np.ones((1, 2, 3)),
    }
    write_parts(path, {"text": "ä\n"}, tensors)
    header, _ = apart(path.read_bytes())
    assert path.read_bytes() == to_bytes(tensors, {"arraymlp": json.dumps(header)})


def test_an_empty_file_is_refused(good: Path) -> None:
    assert "not a readable safetensors file" in str(complaint(b"", good))


def test_a_foreign_safetensors_file_is_refused(good: Path) -> None:
    tensors = {"weight": np.ones((2, 2), np.float32)}
    for metadata in (None, {"format": "pt"}):
        assert "not of arraymlp" in str(complaint(to_bytes(tensors, metadata), good))


Parts = tuple[dict[str, Any], dict[str, np.ndarray]]


def parts() -> Parts:
    """Header and tensors of a good file."""
    tensors = {}
    for i, layer in enumerate(network().layers):
        tensors[f"layers.{i}.weights"], tensors[f"layers.{i}.bias"] = layer.weights, layer.bias
    header = {
        "format": 2,
        "activations": ["relu", "identity"],
        "loss": "softmax_cross_entropy",
        "classes": [0, 1, 2],
    }
    return header, tensors


def put(key: str, value: Any) -> Callable[[Parts], None]:
    def change(file: Parts) -> None:
        file["." in key][key] = value

    return change


def drop(key: str) -> Callable[[Parts], None]:
    return lambda file: file["." in key].pop(key)


def cast(dtype: str) -> Callable[[Parts], None]:
    return lambda file: file[1].update({k: v.astype(dtype) for k, v in file[1].items()})


def together(*changes: Callable[[Parts], None]) -> Callable[[Parts], None]:
    return lambda file: [change(file) for change in changes]


def regression(loss: str = "huber", **header: Any) -> Callable[[Parts], None]:
    return lambda file: file[0].update({"loss": loss, "classes": None, **header})


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


DAMAGE = {
    "format 3": (put("format", 3), "format 3, but this version reads formats 1 and 2"),
    "format true": (put("format", True), "format True"),
    "format fraction": (put("format", 2.0), "format 2.0"),
    "format text": (put("format", "1"), "format '1'"),
    "no format": (drop("format"), "format None"),
    "no activations": (drop("activations"), "activations"),
    "empty activations": (put("activations", []), "0 activations"),
    "activations text": (put("activations", "relu"), "activations"),
    "unknown activation": (put("activations", ["rleu", "identity"]), "did you mean 'relu'?"),
    "activation number": (
        put("activations", [1, "identity"]),
        "[0] must be text, not 1",
    ),
    "outputs not logits": (put("activations", ["relu", "tanh"]), "identity"),
    "no loss": (drop("loss"), "its header lacks loss"),
    "unknown loss": (put("loss", "squared_eror"), "did you mean 'squared_error'?"),
    "loss list": (put("loss", ["squared_error"]), "['loss'] must be text"),
    "tensor missing": (drop("layers.1.bias"), "layers.1.bias"),
    "tensor extra": (put("layers.2.bias", ones(1, 3)), "layers.2.bias"),
    "layer missing": (put("activations", ["relu"] * 2 + ["identity"]), "layers.2.weights"),
    "layer extra": (put("activations", ["identity"]), "layers.1.weights"),
    "tensor renamed": (
        together(drop("layers.1.bias"), put("layers.1.biases", ones(1, 3))),
        "layers.1.bias, layers.1.biases",
    ),
    "shapes do not chain": (put("layers.1.weights", ones(6, 3)), "layer 1 does not fit"),
    "bias too wide": (put("layers.0.bias", ones(1, 6)), "layer 0 does not fit"),
    "bias without its row": (put("layers.0.bias", ones(5)), "layer 0 does not fit"),
    "weights of one axis": (put("layers.0.weights", ones(20)), "layer 0 does not fit"),
    "weights of no axis": (
        put("layers.0.weights", ones()),
        "positive numbers, not []",
    ),
    "weights of four axes": (put("layers.0.weights", ones(1, 1, 4, 5)), "not [1, 1, 4, 5]"),
    "no inputs": (put("layers.0.weights", ones(0, 5)), "positive numbers, not [0, 5]"),
    "members in one layer": (
        together(put("layers.1.weights", ones(2, 5, 3)), put("layers.1.bias", ones(2, 1, 3))),
        "layer 1 does not fit",
    ),
    "other number of members": (
        together(
            put("layers.0.weights", ones(3, 4, 5)),
            put("layers.0.bias", ones(3, 1, 5)),
            put("layers.1.weights", ones(2, 5, 3)),
            put("layers.1.bias", ones(2, 1, 3)),
        ),
        "layer 1 does not fit",
    ),
    "integers": (cast("int32"), "F32 or F64 or U8, not 'I32'"),
    "half precision": (cast("float16"), "not 'F16'"),
    "two dtypes": (put("layers.1.weights", np.ones((5, 3))), "layer 1 does not fit"),
    "classes too few": (put("classes", [0, 1]), "classes do not fit"),
    "classes too many": (put("classes", [0, 1, 2, 3]), "classes do not fit"),
    "classes missing": (drop("classes"), "its header lacks classes"),
    "classes descending": (put("classes", [2, 1, 0]), "classes do not fit"),
    "classes twice": (put("classes", [0, 1, 1]), "classes do not fit"),
    "classes nested": (
        put("classes", [[0, 1, 2]]),
        "null or a list of integers",
    ),
    "classes number": (put("classes", 3), "classes"),
    "classes mixed": (put("classes", ["a", 1, "c"]), "'a'"),
    "classes of text twice": (put("classes", ["a", "b", "b"]), "'b'"),
    "classes with a null": (put("classes", ["a", "b", "c\0"]), "classes"),
    "classes fractions": (put("classes", [0.5, 1.5, 2.5]), "classes"),
    "classes too large": (put("classes", [0, 1, 10**30]), "['classes']"),
    "classes ragged": (put("classes", [0, [1, 2]]), "['classes']"),
    "classes mapping": (put("classes", {"0": 1}), "['classes']"),
    "classes of regression": (put("loss", "squared_error"), "classes do not fit"),
    "parameters of none": (put("loss_parameters", {"threshold": 1.0}), "threshold"),
    "parameters number": (regression(loss_parameters=1), "must be an object, not 1"),
    "parameters null": (regression(loss_parameters=None), "must be an object, not None"),
    "unknown parameter": (regression(loss_parameters={"level": 1.0}), "level"),
    "threshold negative": (regression(loss_parameters={"threshold": -1}), "positive number"),
    "threshold of members": (regression(loss_parameters={"threshold": [1, 2]}), "one network"),
    "levels descending": (
        regression("quantile", loss_parameters={"levels": [0.9, 0.5, 0.1]}),
        "ascending",
    ),
    "levels too few": (
        regression("quantile", loss_parameters={"levels": [0.1, 0.9]}),
        "has 2 outputs a target, but there are 3",
    ),
    "unknown entry": (put("seed", 1), "'seed', of which this version knows nothing"),
    "not finite": (put("classes", [0, 1, np.inf]), "not finite"),
    "three classes of two": (put("loss", "binary_cross_entropy"), "classes do not fit"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_refused(damage: Callable[[Parts], None], words: str, good: Path) -> None:
    file = parts()
    damage(file)
    header, tensors = file
    found = complaint(sealed(header, tensors), good)
    assert found is not None
    assert words in found


def same_content(a: MultilayerPerceptron, b: MultilayerPerceptron) -> bool:
    """Whether two networks are equal bit by bit."""
    about = [(n.loss, n.classes.tolist(), [x.activation for x in n.layers]) for n in (a, b)]
    arrays = [[p.tobytes() for x in n.layers for p in (x.weights, x.bias)] for n in (a, b)]
    return about[0] == about[1] and arrays[0] == arrays[1]


def test_every_flipped_bit_is_noticed_or_harmless(good: Path) -> None:
    content, file = good.read_bytes(), good.with_name("damaged.safetensors")
    original, harmless = load(good), 0
    header = 8 * (8 + int.from_bytes(content[:8], "little"))
    for bit in [*range(header), *range(header, 8 * len(content), 7)]:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        found = complaint(bytes(damaged), good)
        if found is None:
            assert same_content(load(file), original)
            harmless += 1
        else:
            assert bit < header or "it is damaged" in found
    assert harmless < header / 100


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"loss_parameters": {}},
        {"loss": "huber", "classes": None},
        {"loss": "huber", "classes": None, "loss_parameters": {"threshold": 2}},
        {"loss": "quantile", "classes": None, "loss_parameters": {"levels": [0.1, 0.2, 0.3]}},
    ],
    ids=str,
)
def test_the_undamaged_parts_are_a_good_file(change: dict[str, Any], good: Path) -> None:
    header, tensors = parts()
    header.update(change)
    assert complaint(sealed(header, tensors), good) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[]", "is no JSON object"),
        ("1", "is no JSON object"),
        ("null", "is no JSON object"),
        ('"relu"', "is no JSON object"),
        ('{"a"', "is no JSON"),
        ('{"format": 2, "format": 2}', "a name stands twice"),
        ('{"format": 2, "sha256": NaN}', "SHA-256"),
        ('{"format": 2, "sha256": "", "classes": [1e999]}', "not finite"),
        ('{"format": 2, "sha256": "", "classes": [-Infinity]}', "not finite"),
        pytest.param('{"format": ' + "1" * 5000 + "}", "limit", id="digits"),
        pytest.param("[" * 100_000, "nested too deeply", id="deep"),
        pytest.param('{"a":' * 500 + "{}" + "}" * 500, "format None", id="rather deep"),
    ],
)
def test_a_header_that_is_no_json_object_is_refused(text: str, words: str, good: Path) -> None:
    assert words in str(complaint(to_bytes(parts()[1], {"arraymlp": text}), good))


# Sizes and kinds of files


def raw(entries: Any, data: bytes = b"") -> bytes:
    """A safetensors file of such a header, whatever it says."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(*shape: int, offsets: Any = (0, 4), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


ABOUT = {"arraymlp": '{"format": 2, "sha256": ""}'}
CLAIMS = {
    "header longer than the file": ((10**9).to_bytes(8, "little") + b"{}", "has no header"),
    "header of 2^63": ((2**63).to_bytes(8, "little") + b"{}", "has no header"),
    "tensor larger than the file": (
        raw({"__metadata__": ABOUT, "a": entry(10**11, offsets=(0, 4 * 10**11))}, bytes(4)),
        "4 bytes of tensors, where 400000000000 should be",
    ),
    "shape larger than its bytes": (
        raw({"__metadata__": ABOUT, "a": entry(10**11)}, bytes(4)),
        "'a' is out of place",
    ),
    "two tensors in one place": (
        raw({"__metadata__": ABOUT, "a": entry(1), "b": entry(1)}, bytes(4)),
        "'b' is out of place",
    ),
    "bytes of no tensor": (
        raw({"__metadata__": ABOUT, "a": entry(1, offsets=(4, 8))}, bytes(8)),
        "'a' is out of place",
    ),
    "offsets of text": (
        raw({"__metadata__": ABOUT, "a": entry(1, offsets=("0", "4"))}, bytes(4)),
        "must be two offsets",
    ),
    "the same name twice": (
        raw(b'{"a": {}, "a": {}, "__metadata__": {}}'),
        "a name stands twice",
    ),
    "NaN": (raw(b'{"__metadata__": NaN}'), "NaN is no number"),
    "another encoding": (raw('{"__metadata__": {}}'.encode("utf-16")), "is no JSON"),
}


@pytest.mark.parametrize(("content", "words"), CLAIMS.values(), ids=CLAIMS)
def test_what_a_file_claims_is_not_believed(content: bytes, words: str, good: Path) -> None:
    tracemalloc.start()
    try:
        assert words in str(complaint(content, good))
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


def test_a_file_of_6_gib_is_not_read_before_it_is_refused(good: Path) -> None:
    content, file = good.read_bytes(), good.with_name("large.safetensors")
    for start in (content, bytes(8), b"\xff" * 8):
        file.write_bytes(start)
        os.truncate(file, 6 << 30)  # sparse: of no blocks
        tracemalloc.start()
        try:
            with pytest.raises(ModelFileError, match="not a readable safetensors file"):
                load(file)
            assert tracemalloc.get_traced_memory()[1] < 2**21
        finally:
            tracemalloc.stop()
            file.unlink()


@pytest.mark.skipif(os.name != "posix", reason="what POSIX has")
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    fifo, link = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to(fifo)
    for file in (fifo, link, Path(os.devnull), tmp_path):
        with pytest.raises(ModelFileError, match=f"{file}: not a regular file"):
            load(file)


def test_a_file_that_shrinks_while_it_is_read_is_refused(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda file, dtype, n: whole(file, dtype, n)[:-1])
    with pytest.raises(ModelFileError, match="it ended within '"):
        load(good)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h, t: h.update(features=["a", "b"]), "names of 2 features, but 4 inputs"),
        (lambda h, t: h.update(features="abcd"), r"\['features'\] must be a list"),
        (lambda h, t: t.pop("inputs.scale"), "inputs.scale"),
        (lambda h, t: t.update({"inputs.scale": np.zeros(4)}), "no scaling of 4 columns"),
        (lambda h, t: t.update({"inputs.mean": np.full(4, np.nan)}), "no scaling of 4 columns"),
        (lambda h, t: t.update({"inputs.mean": np.zeros((4, 1))}), "no scaling of 4 columns"),
        (lambda h, t: t.update({"inputs.mean": np.zeros(4, "float32")}), "no scaling of 4"),
        (
            lambda h, t: t.update({"outputs.mean": np.zeros(3), "outputs.scale": np.ones(3)}),
            "scaled targets, which softmax_cross_entropy has not",
        ),
    ],
)
def test_scalings_and_names_must_fit(
    change: Callable[[dict[str, Any], dict[str, Any]], object], said: str, good: Path
) -> None:
    header, tensors = apart(good.read_bytes())
    change(header, tensors)
    message = complaint(sealed(header, tensors), good)
    assert message is not None
    assert re.search(said, message)
