"""A model file gives the same network back, on any backend, or says what is wrong with it."""

import json
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arraymlp.backends.cupy
from arraymlp import (
    Backend,
    BackendFallbackWarning,
    MultilayerPerceptron,
    load,
    resolve,
    save,
    train,
)
from arraymlp.nn.activations import ACTIVATIONS, Activation
from arraymlp.nn.losses import LOSSES, Huber, Loss, Quantile
from conftest import on_host
from model_files import apart, digest
from numpy_engine import numpy_engine

SIZES = (4, 5, 3)
X = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)


def network(**given: Any) -> MultilayerPerceptron:
    """A small network, on NumPy where nothing else is said."""
    return MultilayerPerceptron.create(SIZES, **{"backend": resolve("numpy"), **given})


def assert_same_network(actual: MultilayerPerceptron, expected: MultilayerPerceptron) -> None:
    """Equal bit by bit, in equal dtypes, wherever each of them is."""
    assert actual.loss == expected.loss
    assert actual.dtype == expected.dtype
    assert actual.members == expected.members
    if expected.classes is None:
        assert actual.classes is None
    else:
        assert actual.classes.tolist() == expected.classes.tolist()
    for a, b in zip(actual.layers, expected.layers, strict=True):
        assert a.activation == b.activation
        for x, y in ((a.weights, b.weights), (a.bias, b.bias)):
            x, y = on_host(x), on_host(y)
            assert (x.dtype, x.shape) == (y.dtype, y.shape)
            assert x.tobytes() == y.tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def there_and_back(original: MultilayerPerceptron, path: Path) -> MultilayerPerceptron:
    save(original, path)
    return load(path)


# What is saved is loaded


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name: str, path: Path) -> None:
    original = network(activation=name)
    assert_same_network(there_and_back(original, path), original)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss(name: str, path: Path) -> None:
    original = network(loss=name)
    assert_same_network(there_and_back(original, path), original)


@pytest.mark.parametrize(
    ("loss", "members"),
    [
        (Huber(0.25), None),
        (Huber((0.25, 1.0, 4.0)), 3),
        (Quantile((0.05, 0.25, 0.95)), None),
        (Quantile(((0.1, 0.5, 0.9), (0.2, 0.5, 0.8))), 2),
        (Quantile(0.5), None),
    ],
    ids=str,
)
def test_a_loss_keeps_its_parameters(loss: Loss, members: int | None, path: Path) -> None:
    original = network(loss=loss, seed=list(range(members)) if members else 0)
    loaded = there_and_back(original, path)
    assert_same_network(loaded, original)
    assert (loaded.predict(X) == original.predict(X)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_dtypes(dtype: str, path: Path) -> None:
    original = network(dtype=dtype)
    assert_same_network(there_and_back(original, path), original)


def test_a_population(path: Path) -> None:
    original = network(seed=[3, 1, 2])
    loaded = there_and_back(original, path)
    assert loaded.members == 3
    assert_same_network(loaded, original)


def test_no_hidden_layer(path: Path) -> None:
    original = MultilayerPerceptron.create((4, 3), backend=resolve("numpy"))
    assert_same_network(there_and_back(original, path), original)


@pytest.mark.parametrize("classes", [[2, 7, 30], [0, 1, 2**62]], ids=str)
def test_classes_that_are_not_contiguous(classes: list[int], path: Path) -> None:
    loaded = there_and_back(network(classes=np.array(classes)), path)
    assert set(loaded.predict(X)) <= set(classes)
    assert loaded.classes.tolist() == classes


@pytest.mark.parametrize(
    "y",
    [
        np.arange(9) % 3 * 5,
        np.arange(9, dtype=np.uint8) % 2 + 7,
        np.eye(3, dtype=int)[np.arange(9) % 3],
        X[:, 0],
        X[:, :2],
    ],
    ids=["labels", "two labels", "multi-label", "number", "numbers"],
)
def test_a_trained_network_predicts_the_same(y: Any, path: Path, quick_backend: Backend) -> None:
    assert_predicts_the_same(y, path, quick_backend)


def test_so_does_one_of_labels_on_every_backend(path: Path, backend: Backend) -> None:
    assert_predicts_the_same(np.arange(9) % 3 * 5, path, backend)


def assert_predicts_the_same(y: Any, path: Path, backend: Backend) -> None:
    original = train(
        X, y, hidden=(5,), epochs=1, batch_size=3, backend=backend.name, device=backend.device
    ).network
    save(original, path)
    loaded = load(path, backend=backend.name, device=backend.device)
    assert loaded.backend == backend
    assert_same_network(loaded, original)
    assert (loaded.predict(X) == original.predict(X)).all()


def test_two_labels_for_one_output(path: Path) -> None:
    y = np.arange(9) % 2 + 7
    kwargs: dict[str, Any] = {"hidden": (), "epochs": 1, "batch_size": 3, "backend": "numpy"}
    original = train(X, y, loss="binary_cross_entropy", **kwargs).network
    loaded = there_and_back(original, path)
    assert_same_network(loaded, original)
    assert set(loaded.predict(X)) <= {7, 8}


def test_a_file_from_any_backend_opens_on_numpy_and_goes_back(backend: Backend, path: Path) -> None:
    original = network(backend=backend)
    save(original, path)
    loaded = load(path)
    assert loaded.backend.name == "numpy"
    assert_same_network(loaded, original)
    save(loaded, path)
    assert_same_network(load(path, backend=backend.name, device=backend.device), original)


def test_equal_networks_make_equal_files_on_every_backend(backend: Backend, path: Path) -> None:
    save(network(), path)
    on_numpy = path.read_bytes()
    save(network(backend=backend), path)
    assert path.read_bytes() == on_numpy


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_may_be_text(kind: Callable[[Path], Any], path: Path) -> None:
    save(network(), kind(path))
    assert_same_network(load(kind(path)), network())


def test_a_loaded_network_can_be_trained(path: Path) -> None:
    loaded = there_and_back(network(), path)
    run = train(X, np.arange(9) % 3, network=loaded, epochs=1, batch_size=3)
    assert (run.network.layers[0].weights != loaded.layers[0].weights).any()


def test_a_backend_that_is_absent_falls_back_at_the_callers_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARRAYMLP_FALLBACK", raising=False)
    save(network(), path)

    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(arraymlp.backends.cupy, "import_module", absent)
    with pytest.warns(BackendFallbackWarning) as record:
        loaded = load(path, backend="cupy")
    assert [warning.filename for warning in record] == [__file__]
    assert_same_network(loaded, network())


# The file


def test_the_file_is_a_json_header_and_parameters_and_nothing_else(path: Path) -> None:
    original = network()
    save(original, path)
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    about = json.loads(header.pop("__metadata__")["arraymlp"])
    expected_header = {
        "format": 2,
        "activations": ["relu", "identity"],
        "loss": "softmax_cross_entropy",
        "classes": [0, 1, 2],
    }
    assert about == {**expected_header, "sha256": digest(*apart(content))}
    assert len(content) == start + 4 * original.n_parameters
    for name, entry in header.items():
        _, layer, part = name.split(".")
        begin, end = entry["data_offsets"]
        expected = getattr(original.layers[int(layer)], part)
        assert content[start + begin : start + end] == expected.tobytes()


def test_a_file_that_exists_is_replaced(path: Path) -> None:
    path.write_text("old")
    save(network(), path)
    assert_same_network(load(path), network())
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_alone(
    step: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    path.write_text("old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        save(network(), path)
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == [path.name]


def test_an_interrupted_write_leaves_the_old_file_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    path.write_text("old")
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(network(), path)
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == [path.name]


def test_a_folder_is_not_replaced(path: Path) -> None:
    path.mkdir()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        save(network(), path)
    assert os.listdir(path.parent) == [path.name]


def test_a_folder_that_is_absent_is_named(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        save(network(), path / "absent")
    assert os.listdir(path.parent) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(path: Path) -> None:
    path.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match=r"model\.safetensors"):
            save(network(), path)
    finally:
        path.parent.chmod(0o700)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077], ids=oct)
def test_the_umask_decides_who_may_read(mask: int, path: Path) -> None:
    os.umask(mask)
    save(network(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert os.umask(mask) == mask


def test_what_could_not_be_loaded_again_is_not_saved(path: Path) -> None:
    own = Activation("swish", ACTIVATIONS["silu"].function, ACTIVATIONS["silu"].derivative)
    with pytest.raises(ValueError, match="swish"):
        save(network(activation=own), path)

    class Own(Loss):
        name = "squared_error"

    with pytest.raises(ValueError, match=r"Own.* is not of this package"):
        save(network(loss=Own()), path)
    assert os.listdir(path.parent) == []


def test_parameters_stand_in_the_header_where_there_are_any(path: Path) -> None:
    save(network(loss=Huber(2.0)), path)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = json.loads(header["__metadata__"]["arraymlp"])
    assert (about["loss"], about["loss_parameters"]) == ("huber", {"threshold": 2.0})


# Equal is equal: a network from anywhere trains to the same bits, and is saved


def through_pickle(network: Any, path: Path) -> Any:
    return pickle.loads(pickle.dumps(network))


def through_another_process(network: Any, path: Path) -> Any:
    """There and back: what comes has no object of this process in it."""
    script = "import pickle as p, sys; sys.stdout.buffer.write(p.dumps(p.load(sys.stdin.buffer)))"
    done = subprocess.run(
        [sys.executable, "-c", script], input=pickle.dumps(network), capture_output=True, check=True
    )
    return pickle.loads(done.stdout)


def through_a_file(network: Any, path: Path) -> Any:
    save(network, path)
    return load(path)


WAYS = [through_pickle, lambda n, path: deepcopy(n), through_another_process, through_a_file]


@pytest.mark.parametrize("way", WAYS, ids=["pickle", "deepcopy", "process", "file"])
@pytest.mark.parametrize(
    "given_settings",
    [{}, {"activation": "gelu", "dropout": 0.2}, {"loss": Huber(0.5)}, {"activation": "sigmoid"}],
    ids=str,
)
@pytest.mark.parametrize("engine", ["auto", "array"])
def test_a_network_from_anywhere_trains_to_the_same_bits(
    way: Callable[[Any, Path], Any], given_settings: dict[str, Any], engine: str, path: Path
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3)).astype("float32")
    y = x[:, 0] if "loss" in given_settings else (x[:, 0] > 0).astype(int)
    how: dict[str, Any] = {"epochs": 2, "batch_size": 20, "engine": engine, "seed": 3}
    network = train(x, y, hidden=(8,), **how, **given_settings).network
    how |= {name: value for name, value in given_settings.items() if name == "dropout"}
    other = way(network, path)
    save(other, path)  # it is of this package, wherever it came from
    ours, theirs = (train(x, y, network=n, **how) for n in (network, other))
    assert ours.engine == theirs.engine == ("array" if engine == "array" else numpy_engine())
    for a, b in zip(ours.network.layers, theirs.network.layers, strict=True):
        assert (a.weights == b.weights).all()
        assert (a.bias == b.bias).all()
