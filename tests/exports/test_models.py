"""What can be exported, of the package's own kinds of models, and what is refused and how."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import arraymlp
from arraymlp import Ensemble, Layer, to_onnx
from arraymlp.losses import SquaredError
from arraymlp.nn.activations import ACTIVATIONS
from onnx_runs import expected, network, require_same

X = np.random.default_rng(0).normal(size=(60, 3)).astype("float32")
LABELS = np.arange(60) % 3
HOW: dict[str, Any] = {"hidden": (4,), "epochs": 3, "backend": "numpy"}


def test_a_run_is_its_network() -> None:
    run = arraymlp.train(X, LABELS, **HOW)
    require_same(to_onnx(run), {"X": X}, expected(run.network, X))
    seeds = arraymlp.train(X, X[:, 0] * 50, seed=range(3), standardize=True, **HOW)
    require_same(to_onnx(seeds), {"X": X}, expected(seeds.network, X))


def test_a_sweep_is_the_networks_of_its_best_settings() -> None:
    result = arraymlp.sweep(X, LABELS, hidden=[(), (4,)], seed=[1, 2], cv=2, **without("hidden"))
    best = result.rank()[0]["members"]
    assert len(best) == 4
    members = [result[k].network for k in best]
    require_same(to_onnx(result), {"X": X}, expected(Ensemble(members), X))


def test_of_a_sweep_those_that_failed_do_not_count() -> None:
    result = arraymlp.sweep(X, LABELS, seed=[1, 2, 3], **HOW)
    result[1].result.status = "diverged"  # type: ignore[union-attr]
    members = [result[k].network for k in (0, 2)]
    require_same(to_onnx(result), {"X": X}, expected(Ensemble(members), X))
    for member in result:
        member.result.status = "diverged"  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="no network has a score"):
        to_onnx(result)


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in HOW.items() if name not in names}


@pytest.mark.parametrize("model", [None, "model.safetensors", Layer, X])
def test_what_is_no_model_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="to_onnx takes a network, a run, an ensemble"):
        to_onnx(model)


class MyLayer(Layer):
    pass


class MySquaredError(SquaredError):
    name = "mine"


def test_what_is_of_the_users_own_is_refused() -> None:
    made = network()
    own = [
        replace(made, layers=[MyLayer(x.weights, x.bias, x.activation) for x in made.layers]),
        network(activation=replace(ACTIVATIONS["relu"], name="mine")),
        network(activation=replace(ACTIVATIONS["relu"], function=ACTIVATIONS["tanh"].function)),
        network(loss=MySquaredError()),
    ]
    for one in own:
        for model in (one, Ensemble([one, one])):
            with pytest.raises(ValueError, match="is not of this package"):
                to_onnx(model)


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    model = to_onnx(network(), file)
    assert file.read_bytes() == model.SerializeToString()
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    with pytest.raises(FileNotFoundError):
        to_onnx(network(), tmp_path / "absent" / "model.onnx")
    with pytest.raises(ValueError, match="is not of this package"):
        to_onnx(network(loss=MySquaredError()), file)
    assert file.read_bytes() == model.SerializeToString()


def test_a_model_that_no_file_holds_is_refused() -> None:
    made = network()
    huge = np.broadcast_to(np.float32(1), (3, 2**29))
    made.layers = [Layer(huge, huge[:1], ACTIVATIONS["identity"])]
    with pytest.raises(ValueError, match="at most 2 GiB, but there are 8589934592 bytes"):
        to_onnx(made)


def test_without_onnx_the_message_has_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    made = network()
    for name in [n for n in sys.modules if n.partition(".")[0] == "onnx" or ".exports." in n]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match="pip install onnx"):
        arraymlp.to_onnx(made)
