"""scikit-learn's own callback protocol, where the installed version has one (1.9 and newer).

Each epoch, or iteration of L-BFGS, is a task under that of ``fit``.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from arraymlp.training.model import MultilayerPerceptron

__all__ = ["CallbackSupportMixin", "Tasks", "with_callbacks"]

F = TypeVar("F", bound=Callable[..., Any])

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ModuleNotFoundError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for scikit-learn's; there are no callbacks to support."""

    def with_callbacks(method: F) -> F:
        """The method as it is."""
        return method


class Tasks:
    """What scikit-learn's callbacks are told of one call of ``fit``.

    Args:
        estimator: whose callbacks they are.
        X: as ``fit`` got it.
        y: as ``fit`` got it.
        metadata: the sample weights, where there are some.
        epochs: how many there will be at most.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, metadata: Any, epochs: int) -> None:
        self._told = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._fit: Any = None
        self._epoch: Any = None
        if hasattr(estimator, "_init_callback_context"):
            self._fit = estimator._init_callback_context(max_subtasks=epochs)
            self._fit.call_on_fit_task_begin(**self._told)
            self._begin()

    def _begin(self) -> None:
        self._epoch = self._fit.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._told)

    def end(self, network: MultilayerPerceptron, *, last: bool) -> bool:
        """An epoch has ended with this network; True where a callback wants no other."""
        if self._fit is None:
            return False
        stop = self._epoch.call_on_fit_task_end(
            **self._told, reconstruction_attributes=lambda: {"network_": network.copy()}
        )
        self._epoch = None
        if not (stop or last):
            self._begin()
        return bool(stop)

    def finish(self) -> None:
        """Training is over; a task that was begun for another epoch ends empty."""
        if self._epoch is not None:
            self._epoch.call_on_fit_task_end(estimator=self._told["estimator"])
        if self._fit is not None:
            self._fit.call_on_fit_task_end(**self._told, reconstruction_attributes=dict)
