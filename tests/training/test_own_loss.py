"""A loss of the user's own is tried before the training."""

from typing import Any

import pytest

import arraymlp
import problems
from arraymlp import Backend
from arraymlp.losses import Loss, SquaredError

X, Y = problems.numbers()


class Own(Loss):
    """Half the squared error; the cases change it."""

    name = "own"

    def value_and_delta(self, s: Any, y: Any, xp: Any) -> tuple[Any, Any]:
        return xp.sum((s - y) ** 2, axis=-1) / 2, s - y


class OneNumber(Own):
    def value_and_delta(self, s: Any, y: Any, xp: Any) -> tuple[Any, Any]:
        return xp.sum((s - y) ** 2) / 2, s - y


class AllColumns(Own):
    def value_and_delta(self, s: Any, y: Any, xp: Any) -> tuple[Any, Any]:
        return (s - y) ** 2 / 2, s - y


class Lists(Own):
    def value_and_delta(self, s: Any, y: Any, xp: Any) -> tuple[Any, Any]:
        return [0.0] * len(s), s - y


class OneColumn(Own):
    def value_and_delta(self, s: Any, y: Any, xp: Any) -> tuple[Any, Any]:
        return xp.sum((s - y) ** 2, axis=-1) / 2, xp.sum(s - y, axis=-1)


class ValueAlone(Own):
    def value_and_delta(self, s: Any, y: Any, xp: Any) -> Any:
        return xp.sum((s - y) ** 2, axis=-1) / 2


class NotFinite(Own):
    def value_and_delta(self, s: Any, y: Any, xp: Any) -> tuple[Any, Any]:
        return xp.sum(xp.log(s), axis=-1), 1 / s


class WrongSign(Own):
    def value_and_delta(self, s: Any, y: Any, xp: Any) -> tuple[Any, Any]:
        return xp.sum((s - y) ** 2, axis=-1) / 2, y - s


class Twice(Own):
    def value_and_delta(self, s: Any, y: Any, xp: Any) -> tuple[Any, Any]:
        return xp.sum((s - y) ** 2, axis=-1) / 2, 2 * (s - y)


class Absolute(Own):
    """With a kink, and a derivative that is its own but there."""

    def value_and_delta(self, s: Any, y: Any, xp: Any) -> tuple[Any, Any]:
        return xp.sum(xp.abs(s - y), axis=-1), xp.sign(s - y)


BAD: dict[str, tuple[Loss, str]] = {
    "one number": (OneNumber(), r"value that own returns must be .* shape \(6,\) .* of shape \(\)"),
    "columns": (AllColumns(), r"value that own returns must be .* \(6,\) .* of shape \(6, 3\)"),
    "lists": (Lists(), r"the value that own returns must be an array .* not list"),
    "a column": (OneColumn(), r"delta that own returns must be .* \(6, 3\) .* of shape \(6,\)"),
    "value alone": (ValueAlone(), r"own must return \(value, delta\), not a ndarray"),
    "not finite": (NotFinite(), "the value that own returns is not finite for logits"),
    "wrong sign": (WrongSign(), r"dL/ds of own is .* for output \d, where .* it points uphill"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_loss_that_cannot_be_trained_with_is_refused(case: str) -> None:
    loss, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        arraymlp.train(X, Y, loss=loss, backend="numpy")
    with pytest.raises(ValueError, match=words):
        arraymlp.sweep(X, Y, loss=loss, backend="numpy", learning_rate=[0.1, 0.2])


def test_a_derivative_that_is_another_loss_s_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="dL/ds of own .*: unless that is meant") as told:
        arraymlp.train(X, Y, loss=Twice(), backend="numpy", epochs=0)
    assert told[0].filename == __file__


@pytest.mark.parametrize("loss", [Own(), Absolute(), SquaredError()], ids=["own", "kink", "ours"])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_a_right_loss_is_silent(loss: Loss, scale: float, quick_backend: Backend) -> None:
    """Warnings are errors here."""
    given: dict[str, Any] = {"backend": quick_backend.name, "device": quick_backend.device}
    run = arraymlp.train(X, Y * scale, loss=loss, epochs=0, **given)
    assert len(run.history) == 0


class WrongScale(Own):
    def rescaled(self, c: float) -> tuple[Loss, float]:
        return self, c  # of a square it is c * c


class RightScale(Own):
    def rescaled(self, c: float) -> tuple[Loss, float]:
        return self, c * c


def test_a_scale_that_does_not_hold_is_refused(backend: Backend) -> None:
    train = {"epochs": 1, "hidden": (4,), "backend": backend}
    assert arraymlp.train(X, Y, loss=RightScale(), **train).network.outputs is not None
    if not backend.has("float64"):
        pytest.skip("no float64 to try it in")
    with pytest.raises(ValueError, match="where its rescaled says"):
        arraymlp.train(X, Y, loss=WrongScale(), **train)
