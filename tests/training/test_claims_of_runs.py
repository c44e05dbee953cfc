"""Files of runs whose SHA-256 is right and whose claims are absurd; tests/test_fuzz.py has more."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraymlp import ModelFileError, load, save, train
from arraymlp.schedules import Adaptive
from arraymlp.sweeps.stacking import SchedulesOfMembers
from arraymlp.training.generations import CheckpointError
from model_files import apart, sealed

pytest.importorskip("safetensors")

X = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")
Y = np.arange(24) % 2
HOW: dict[str, Any] = {"hidden": (3,), "epochs": 2, "batch_size": 5, "backend": "numpy"}


def _nested(levels: int) -> Any:
    return "[" * levels + "]" * levels


CLAIMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "hidden layers of other widths": lambda c: c["settings"].update(hidden=[10**9]),
    "an epoch of more steps than it has": lambda c: c["partial_epoch"].update(steps=5),
    "steps without a record": lambda c: c["partial_epoch"]["unrecorded"].update(steps=1),
    "a step far away": lambda c: c["history"][-1].update(step=2**60),
    "epochs in no order": lambda c: c["history"].reverse(),
    "a loss in words": lambda c: c["history"][0].update(loss="small"),
    "losses of members": lambda c: c["history"][0].update(loss=[1.0, 2.0]),
    "a time that is not finite": lambda c: c["partial_epoch"]["unrecorded"].update(seconds=np.nan),
    "an early stopping": lambda c: c.update(stopper={"stopped": 1}),
    "a schedule's memory": lambda c: c.update(schedule={"factor": 0.5}),
    "dead units of many layers": lambda c: c.update(dead_units=[1, 2, 3]),
    "data of no shape": lambda c: c["data"]["X"].update(shape=None),
    "no number where one must be": lambda c: c["settings"].update(l2=None),
}


def _changed(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    header, tensors = apart(file.read_bytes())
    content = json.loads(tensors["run.json"].tobytes())
    change(content)
    text = json.dumps(content)
    file.write_bytes(sealed(header, {**tensors, "run.json": np.frombuffer(text.encode(), "u1")}))


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_that_cannot_be_is_refused(claim: str, tmp_path: Path) -> None:
    run, file = train(X, Y, **HOW), tmp_path / "run"
    save(run, file)
    _changed(file, CLAIMS[claim])
    with pytest.raises(ModelFileError):
        load(file)
    checkpoint = tmp_path / "checkpoint"
    train(X, Y, **HOW, checkpoint=checkpoint)
    _changed(checkpoint, CLAIMS[claim])
    with pytest.raises(CheckpointError, match="checkpoint"):
        train(X, Y, **HOW, checkpoint=checkpoint)


def test_lists_too_deep_to_be_read_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    train(X, Y, **HOW, checkpoint=file)
    header, tensors = apart(file.read_bytes())
    text = f'{{"a": {_nested(100_000)}}}'
    file.write_bytes(sealed(header, {**tensors, "run.json": np.frombuffer(text.encode(), "u1")}))
    with pytest.raises(ModelFileError, match="deep"):
        load(file)
    with pytest.raises(CheckpointError, match="deep"):
        train(X, Y, **HOW, checkpoint=file)


def test_a_callback_that_cannot_go_on_is_named(tmp_path: Path) -> None:
    class Counter:
        def __init__(self) -> None:
            self.n = 0

        def __call__(self, event: Any) -> None:
            self.n += 1

        def state(self) -> Any:
            return {"n": self.n}

        def restore(self, state: Any) -> None:
            self.n = state["n"]

    file = tmp_path / "checkpoint"
    train(X, Y, **HOW, checkpoint=file, callbacks=[Counter()])
    _changed(file, lambda content: content["callbacks"][0].update(state={}))
    with pytest.raises(CheckpointError, match="Counter"):
        train(X, Y, **HOW, checkpoint=file, callbacks=[Counter()])
    with pytest.raises(CheckpointError, match="no such callback is given"):
        train(X, Y, **HOW, checkpoint=file, callbacks=[lambda event: None])


def test_schedules_of_members_remember_each_its_own() -> None:
    rules = [Adaptive(factor=0.5, patience=1), Adaptive(factor=0.1, patience=2)]
    schedule = SchedulesOfMembers(rules).begin()
    for _ in range(3):
        schedule.observe({"loss": [1.0, 1.0]})
    twin = SchedulesOfMembers(rules).begin()
    twin.restore(json.loads(json.dumps(schedule.state())))
    for _ in range(2):
        steps = np.zeros((1, 1), dtype=int)
        factors = schedule.factors(steps, 9)
        assert factors.tolist() != [[1.0, 1.0]]
        np.testing.assert_array_equal(twin.factors(steps, 9), factors)
        schedule.observe({"loss": [1.0, 1.0]})
        twin.observe({"loss": [1.0, 1.0]})
