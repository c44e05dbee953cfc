"""What the page on extending defines works on every backend, for one network and for several."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp import Backend
from arraymlp.backends import registry
from conftest import on_host
from pages import ROOT, script


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the page's code defines."""
    libraries, file = registry.LIBRARIES, tmp_path_factory.mktemp("page") / "extending.py"
    file.write_text(script(Path(ROOT / "docs" / "extending.md")), encoding="utf-8")
    names = runpy.run_path(str(file))
    registry.LIBRARIES = libraries  # without the page's own
    return names


def settings(page: dict[str, Any], what: str) -> dict[str, Any]:
    """Arguments of train with one of the page's objects, and y."""
    if what == "activation":
        return {"y": page["label"], "activation": page["softsign"]}
    if what == "loss":
        return {"y": page["price"], "loss": page["LogCosh"]()}
    if what == "optimizer":
        rule = page["SignSGD"]()
        return {"y": page["label"], "optimizer": rule, "learning_rate": 0.001}
    if what == "schedule":
        return {"y": page["label"], "schedule": page["Triangle"]()}
    if what == "schedule that observes":
        return {"y": page["label"], "schedule": page["Careful"]()}
    return {"y": page["price"], "metrics": [page["within_a_tenth"]], "validation": 0.2}


OBJECTS = pytest.mark.parametrize(
    "what", ["activation", "loss", "optimizer", "schedule", "schedule that observes", "metric"]
)


@OBJECTS
def test_the_pages_objects_work_for_one_network(
    quick_backend: Backend, page: dict[str, Any], what: str
) -> None:
    assert_works(quick_backend, page, what, 0)


@OBJECTS
def test_the_pages_objects_work_for_two_on_every_backend(
    backend: Backend, page: dict[str, Any], what: str
) -> None:
    assert_works(backend, page, what, (0, 1))


def assert_works(backend: Backend, page: dict[str, Any], what: str, seed: Any) -> None:
    """A training with one of the page's objects is that on NumPy by the definition."""
    arguments = {"X": page["X"][:200], "hidden": (4,), "epochs": 2, "batch_size": 50, "seed": seed}
    arguments |= settings(page, what)
    arguments["y"] = arguments["y"][:200]
    run = arraymlp.train(**arguments, backend=backend)
    expected = arraymlp.train(**arguments, backend="numpy", engine="array")
    assert run.backend == backend
    ours, theirs = (on_host(r.network.layers[0].weights) for r in (run, expected))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    if what == "metric":
        name = "validation_within_a_tenth"
        np.testing.assert_allclose(run.history[name], expected.history[name])
    if what == "loss":  # an array of another dtype would have turned it into float64
        value, delta = page["LogCosh"]()(
            run.network.layers[0].weights, run.network.layers[0].weights
        )
        assert value.dtype == delta.dtype == run.network.layers[0].weights.dtype


@pytest.mark.parametrize("seed", [0, (0, 1)], ids=["one", "two"])
def test_the_pages_schedule_goes_on_from_a_checkpoint(
    page: dict[str, Any], tmp_path: Path, seed: Any
) -> None:
    def trained(stop: int, **checkpoint: Any) -> Any:
        def broken_off(event: Any) -> None:
            if event.number == stop:
                raise InterruptedError

        arguments = {"learning_rate": 0.5, "epochs": 12, "seed": seed, "callbacks": broken_off}
        return arraymlp.train(page["X"], page["label"], schedule=page["Careful"](), **arguments,
                              **checkpoint)  # fmt: skip

    whole = trained(stop=0)
    assert np.min(whole.schedule.factor) < 1
    file = {"checkpoint": arraymlp.Checkpoint(tmp_path / "run.ckpt", every="1 epoch")}
    with pytest.raises(InterruptedError):
        trained(stop=10, **file)
    again = trained(stop=0, **file)
    for ours, theirs in zip(again.network.layers, whole.network.layers, strict=True):
        np.testing.assert_array_equal(on_host(ours.weights), on_host(theirs.weights))
    assert again.schedule.state() == whole.schedule.state()


def test_the_pages_layer_keeps_its_mask_whatever_trains_it(page: dict[str, Any]) -> None:
    network, mask = page["network"], page["pruned"].mask
    for more in ({"optimizer": "adam"}, {"l2": 0.1}, {"weight_decay": 0.1}, {"dropout": 0.2}):
        run = arraymlp.train(page["X"], page["label"], network=network, epochs=1, **more)
        assert not run.network.layers[0].weights[mask == 0].any()
        assert run.network.layers[0].weights[mask == 1].any()
    with pytest.raises(ValueError, match="PrunedLayer"):
        arraymlp.save(run.network, "never.safetensors")
