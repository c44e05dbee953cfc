"""scikit-learn's own callback protocol, where the installed version has one (1.9 and newer).

Each epoch, or iteration of L-BFGS, is a task under the task of ``fit``.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from sklearn.base import BaseEstimator

from arraymlp.training.model import MultilayerPerceptron

__all__ = ["CallbackSupportMixin", "Tasks", "with_callbacks"]

F = TypeVar("F", bound=Callable[..., Any])

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ModuleNotFoundError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for scikit-learn's where there are no callbacks to support."""

    def with_callbacks(method: F) -> F:
        """Return the method as it is."""
        return method


class Tasks:
    """The tasks of one call of ``fit``, of which scikit-learn's callbacks are told.

    Args:
        estimator: whose callbacks they are.
        X: as ``fit`` got it.
        y: as ``fit`` got it.
        metadata: the sample weights, where there are some.
        epochs: how many there will be at most.
    """

    def __init__(
        self,
        estimator: BaseEstimator,
        X: object,
        y: object,
        metadata: dict[str, object] | None,
        epochs: int,
    ) -> None:
        self._arguments = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._fit: Any = None  # scikit-learn's context of the task; None where it has none
        self._epoch: Any = None
        if hasattr(estimator, "_init_callback_context"):
            self._fit = estimator._init_callback_context(max_subtasks=epochs)
            self._fit.call_on_fit_task_begin(**self._arguments)
            self._begin()

    def _begin(self) -> None:
        self._epoch = self._fit.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._arguments)

    def end(self, network: MultilayerPerceptron, *, last: bool) -> bool:
        """End the task of an epoch, and begin the next. Return True where a callback says stop.

        Args:
            network: as the epoch left it.
            last: whether this was the last epoch.
        """
        if self._fit is None:
            return False
        stop = self._epoch.call_on_fit_task_end(
            **self._arguments, reconstruction_attributes=lambda: {"network_": network.copy()}
        )
        self._epoch = None
        if not (stop or last):
            self._begin()
        return bool(stop)

    def finish(self) -> None:
        """End the task of ``fit``, and that of an epoch that was begun and did not come."""
        if self._epoch is not None:
            self._epoch.call_on_fit_task_end(estimator=self._arguments["estimator"])
        if self._fit is not None:
            self._fit.call_on_fit_task_end(**self._arguments, reconstruction_attributes=dict)
