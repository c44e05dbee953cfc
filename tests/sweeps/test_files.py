"""A sweep's file gives the same sweep back, without its data, or says what is wrong with it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as tensors_of

from arraymlp import ModelFileError, SweepResult, load, save, sweep, train
from arraymlp.losses import Huber
from arraymlp.nn.activations import ACTIVATIONS, Activation
from arraymlp.sweeps.files import JSON
from conftest import on_host
from model_files import apart, sealed

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3)).astype(np.float32)
LABELS = np.arange(60) % 3 + 5
NUMBERS = X[:, :1] + 0.1 * rng.normal(size=(60, 1))
FEW = {"epochs": 3, "batch_size": 20, "validation": 0.2, "backend": "numpy"}


@pytest.fixture(scope="module")
def varied() -> SweepResult:
    """Two shapes, of which some diverge; one is diagnosed."""
    rates = [0.05, 1e30]
    result = sweep(X, LABELS, hidden=[(4,), (3, 2)], learning_rate=rates, seed=range(2), **FEW)
    result.findings(0)
    return result


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sweep.safetensors"


def there_and_back(result: SweepResult, path: Path) -> SweepResult:
    result.save(path)
    return SweepResult.load(path)


def assert_same_networks(actual: SweepResult, expected: SweepResult) -> None:
    for a, b in zip(actual.networks, expected.networks, strict=True):
        assert (a.loss, a.dtype, a.members, a.sizes) == (b.loss, b.dtype, None, b.sizes)
        assert np.array_equal(a.classes, b.classes)
        for layer, expected_layer in zip(a.layers, b.layers, strict=True):
            assert layer.activation == expected_layer.activation
            for x, y in (
                (layer.weights, expected_layer.weights),
                (layer.bias, expected_layer.bias),
            ):
                assert on_host(x).tobytes() == on_host(y).tobytes()


# What is saved is loaded


def test_everything_but_the_data_comes_back(varied: SweepResult, path: Path) -> None:
    loaded = there_and_back(varied, path)
    assert_same_networks(loaded, varied)
    assert loaded.to_json() == varied.to_json()
    assert loaded.rank() == varied.rank()
    assert loaded.best.number == varied.best.number
    assert [m.status for m in loaded] == [m.status for m in varied]
    assert {m.status for m in loaded} == {"finished", "diverged"}
    assert [m.swept for m in loaded] == [m.swept for m in varied]
    np.testing.assert_equal(loaded.curves(), varied.curves())
    assert loaded.findings(0) == varied.findings(0)
    assert repr(loaded) == repr(varied)


def test_what_is_not_finite_stays_so(varied: SweepResult, path: Path) -> None:
    (loss,) = there_and_back(varied, path).members[2].history["loss"]
    assert np.isnan(loss)


def test_networks_alike_are_one_stack(varied: SweepResult, path: Path) -> None:
    varied.save(path)
    shapes = {name: t.shape for name, t in tensors_of(path.read_bytes()).items()}
    assert shapes["networks.0.layers.0.weights"] == (4, 3, 4)
    assert shapes["networks.1.layers.1.bias"] == (4, 1, 2)
    assert len(shapes) == 2 * 2 + 2 * 3 + 1


def test_the_file_is_read_by_json_alone(varied: SweepResult, path: Path) -> None:
    varied.save(path)
    content = json.loads(tensors_of(path.read_bytes())[JSON].tobytes())
    assert content["score"] == "validation_error"
    assert content["rows"] == json.loads(varied.to_json())["rows"]


@pytest.mark.parametrize("name", ["array_api_strict", "torch"])
def test_networks_go_to_a_backend(varied: SweepResult, path: Path, name: str) -> None:
    pytest.importorskip(name)
    varied.save(path)
    loaded = SweepResult.load(path, backend=name)
    assert {network.backend.name for network in loaded.networks} == {name}
    assert_same_networks(loaded, varied)


def test_the_ensemble_predicts_the_same(varied: SweepResult, path: Path) -> None:
    loaded = there_and_back(varied, path)
    assert np.array_equal(loaded.ensemble(3).predict(X), varied.ensemble(3).predict(X))


def test_losses_keep_their_parameters(path: Path) -> None:
    losses = [Huber(0.5), Huber(2.0), "squared_error"]
    result = sweep(X, NUMBERS, loss=losses, hidden=(3,), dtype="float64", **FEW)
    loaded = there_and_back(result, path)
    assert_same_networks(loaded, result)
    assert [r["loss"] for r in loaded.rows] == [repr(Huber(0.5)), repr(Huber(2.0)), "squared_error"]
    assert loaded.rank() == result.rank()


def test_folds_and_early_stopping_come_back(path: Path) -> None:
    given = {**FEW, "validation": None, "epochs": 30}
    result = sweep(X, LABELS, cv=3, early_stopping=True, learning_rate=1.0, **given)
    loaded = there_and_back(result, path)
    assert [m.fold for m in loaded] == [0, 1, 2]
    assert [m.best_epoch for m in loaded] == [m.best_epoch for m in result]
    assert None not in [m.best_epoch for m in loaded]


def test_members_that_were_not_trained_have_no_network(path: Path) -> None:
    result = sweep(X, LABELS, hidden=[(4,), (2,)], **FEW)
    result.members[1].result = result.members[1].score = None
    result.interrupted = True
    loaded = there_and_back(result, path)
    assert loaded.interrupted
    assert [m.status for m in loaded] == ["finished", "not trained"]
    with pytest.raises(ValueError, match="member 1 was not trained"):
        _ = loaded[1].network


def test_figures_of_an_epoch_that_broke_off_are_absent_again(path: Path) -> None:
    result = sweep(X, LABELS, hidden=(4,), **FEW)
    trained = result.members[0].result
    assert trained is not None
    trained.status = "interrupted"
    del trained.history.records[-1]["validation_error"]
    records = there_and_back(result, path)[0].history.records
    assert records == trained.history.records


def test_a_run_needs_the_data(varied: SweepResult, path: Path) -> None:
    loaded = there_and_back(varied, path)
    for ask in (loaded.run, loaded.findings):
        with pytest.raises(ValueError, match="not the data"):
            ask(1)


def test_a_loaded_sweep_is_saved_again(varied: SweepResult, path: Path) -> None:
    varied.save(path)
    content = path.read_bytes()
    SweepResult.load(path).save(path)
    assert path.read_bytes() == content


# What is not saved


def test_what_could_not_be_loaded_again_is_not_saved(path: Path) -> None:
    swish = Activation("swish", ACTIVATIONS["silu"].function, ACTIVATIONS["silu"].derivative)
    result = sweep(X, LABELS, hidden=(4,), activation=swish, **FEW)
    with pytest.raises(ValueError, match="swish"):
        result.save(path)
    assert os.listdir(path.parent) == []


def test_a_folder_that_is_absent_is_named(varied: SweepResult, path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"sweep\.safetensors"):
        varied.save(path / "absent")


# Files of something else, and damage


def test_each_file_says_how_it_is_opened(varied: SweepResult, path: Path) -> None:
    varied.save(path)
    with pytest.raises(ModelFileError, match=r"sweep\.safetensors: .*SweepResult\.load opens it"):
        load(path)
    save(varied.networks[0], path)
    with pytest.raises(ModelFileError, match=r"sweep\.safetensors: .*arraymlp\.load opens it"):
        SweepResult.load(path)


@pytest.fixture(scope="module")
def good(varied: SweepResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sweeps") / "good.safetensors"
    varied.save(file)
    return file


def complaint(content: bytes, good: Path) -> str:
    """How such a file is refused; no other exception may leave it."""
    file = good.with_name("damaged.safetensors")
    file.write_bytes(content)
    with pytest.raises(ModelFileError) as error:
        SweepResult.load(file)
    assert str(error.value).startswith(f"{file}: ")
    return str(error.value)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_every_truncated_file_is_refused(data: st.DataObject, good: Path) -> None:
    content = good.read_bytes()
    complaint(content[: data.draw(st.integers(0, len(content) - 1))], good)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_every_flipped_bit_of_the_content_is_noticed(data: st.DataObject, good: Path) -> None:
    content = bytearray(good.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    at = data.draw(st.integers(start, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    assert "damaged" in complaint(bytes(content), good)


def rewritten(good: Path, change) -> bytes:
    """The file with its JSON and its header changed, and a SHA-256 that agrees."""
    header, tensors = apart(good.read_bytes())
    about = json.loads(tensors[JSON].tobytes())
    change(header, about)
    tensors[JSON] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    return sealed(header, tensors)


def test_the_unchanged_parts_are_a_good_file(good: Path) -> None:
    file = good.with_name("rewritten.safetensors")
    file.write_bytes(rewritten(good, lambda header, about: None))
    assert len(SweepResult.load(file)) == 8


def in_row(**values):
    return lambda header, about: about["rows"][0].update(values)


def in_member(**values):
    return lambda header, about: about["members"][0].update(values)


def in_history(**values):
    return lambda header, about: about["members"][0]["history"].update(values)


FINDING = {
    "kind": "learned",
    "sentence": "It learned.",
    "figures": {},
    **dict.fromkeys(("layer", "member", "from_step", "to_step", "from_epoch", "to_epoch")),
}
DAMAGE = {
    "no rows": lambda header, about: about.pop("rows"),
    "a row less": lambda header, about: about["rows"].pop(),
    "members less": lambda header, about: (about["rows"].pop(), about["members"].pop()),
    "rows are text": lambda header, about: about.update(rows="rows"),
    "a row of another number": in_row(member=1),
    "score of text": in_row(score="0.5"),
    "status of a number": in_row(status=3),
    "a figure of lists": in_row(loss=[0.5]),
    "best epoch of text": in_row(best_epoch="3"),
    "seconds of text": lambda header, about: about.update(seconds="3"),
    "seconds beyond float64": lambda header, about: about.update(seconds=10**400),
    "swept of numbers": lambda header, about: about.update(swept=[1]),
    "swept of other settings": lambda header, about: about.update(swept=["momentum"]),
    "an unknown entry": lambda header, about: about.update(seed=0),
    "no settings": lambda header, about: about["members"][0].pop("settings"),
    "settings of text": in_member(settings="none"),
    "point negative": in_member(point=-1),
    "diagnosed of text": in_member(diagnosed="yes"),
    "history ragged": lambda header, about: about["members"][0]["history"]["loss"].pop(),
    "epochs of text": in_history(epoch=["0", "1", "2"]),
    "epochs missing": lambda header, about: about["members"][0]["history"].pop("epoch"),
    "seconds of epochs in text": in_history(seconds=["0", "1", "2"]),
    "scores of text": in_history(validation_error=["0", "1", "2"]),
    "no history of a network": in_member(history={}),
    "finding of another kind": in_member(findings=[{}]),
    "finding without a sentence": in_member(findings=[{**FINDING, "sentence": None}]),
    "finding with more": in_member(findings=[{**FINDING, "advice": ""}]),
    "a network less": lambda header, about: header["networks"].pop(),
    "a member less": lambda header, about: header["networks"][0]["members"].pop(),
    "a member twice": lambda header, about: header["networks"][0].update(members=[0, 0, 1, 2]),
    "members nobody has": lambda header, about: header["networks"][0].update(members=[0, 1, 2, 99]),
    "members of text": lambda header, about: header["networks"][0].update(members=["0", 1, 2, 3]),
    "members a mapping": lambda header, about: header["networks"][0].update(members={"0": 1}),
    "networks are a number": lambda header, about: header.update(networks=3),
    "networks of text": lambda header, about: header.update(networks=["a"]),
    "an estimator, too": lambda header, about: header.update(estimator={}),
    "unknown activation": lambda header, about: header["networks"][0].update(activations=["a"] * 2),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_refused(change, good: Path) -> None:
    complaint(rewritten(good, change), good)


def test_a_finding_as_it_should_be_is_read(good: Path) -> None:
    file = good.with_name("rewritten.safetensors")
    file.write_bytes(rewritten(good, in_member(findings=[FINDING], diagnosed=True)))
    assert SweepResult.load(file).findings(0)[0].kind == "learned"


@pytest.mark.parametrize("name", ["networks.2.layers.0.bias", "networks.-1.layers.0.bias", "a"])
def test_tensors_of_no_network_are_refused(name: str, good: Path) -> None:
    header, tensors = apart(good.read_bytes())
    tensors[name] = np.ones((4, 1, 4), np.float32)
    assert "tensors of no network" in complaint(sealed(header, tensors), good)


def test_members_changed_over_are_noticed(good: Path) -> None:
    content = good.read_bytes()
    assert content.count(b'\\"members\\": [0, 1, 2, 3]') == 1
    swapped = content.replace(b"[0, 1, 2, 3]", b"[1, 0, 2, 3]")
    assert "it is damaged" in complaint(swapped, good)


@settings(max_examples=30, deadline=None)
@given(content=st.binary())
def test_any_other_file_is_refused(content: bytes, good: Path) -> None:
    complaint(content, good)


def test_a_file_that_is_absent_is_an_os_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"sweep\.safetensors"):
        SweepResult.load(path)


def test_a_member_is_trained_on_from_a_file(varied: SweepResult, path: Path) -> None:
    network = there_and_back(varied, path).best.network
    run = train(X, LABELS, network=network, epochs=1, batch_size=20, backend="numpy")
    assert len(run.history) == 1
