"""The parameter ``executor`` of searches and ensembles: kept by reference, and in no pickle."""

from typing import Any, Self

from sklearn.base import BaseEstimator, _clone_parametrized
from sklearn.utils._param_validation import HasMethods

EXECUTOR = [HasMethods(["submit"]), HasMethods(["get_executor"]), None]


class WithExecutor(BaseEstimator):
    """An estimator whose ``executor`` no copy copies: it has threads, or is a connection."""

    executor: Any

    def __sklearn_clone__(self) -> Self:
        bare = object.__new__(type(self))
        bare.__dict__.update(vars(self), executor=None)
        cloned: Self = _clone_parametrized(bare)
        cloned.executor = self.executor
        return cloned

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "executor": None}
