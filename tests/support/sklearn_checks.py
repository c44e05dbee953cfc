"""scikit-learn's own checks of estimators, run and kept."""

import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any
from unittest import SkipTest

from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import estimator_checks_generator


def outcome(check: Callable[[Any], Any], estimator: Any) -> Exception | None:
    """The error that a check of scikit-learn raises, a skip included; None where it passes.

    Two warnings are no failure, since scikit-learn's own networks give them, too: that max_iter is
    reached, and that the logarithm of a probability of 0 is infinite.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "divide by zero encountered in log", RuntimeWarning)
        try:
            check(estimator)
        except (Exception, SkipTest) as error:
            return error
    return None


@cache
def outcomes(estimator: Any) -> list[tuple[partial[Any], Exception | None]]:
    """Each check that scikit-learn has for an estimator, and the error that it raised."""
    checks = estimator_checks_generator(estimator)
    return [(check, outcome(check, instance)) for instance, check in checks]


def failures(estimator: Any) -> list[tuple[partial[Any], Exception]]:
    """The checks that an estimator fails, and their errors."""
    checks = outcomes(estimator)
    assert len(checks) >= 60
    return [(c, e) for c, e in checks if e is not None and not isinstance(e, SkipTest)]


def require_none(failed: list[tuple[partial[Any], Exception]]) -> None:
    """Raise all of these errors, each with the name of its check."""
    for check, error in failed:
        error.add_note(f"in {check.func.__name__}, {check.keywords}")
    if failed:
        raise ExceptionGroup(f"{len(failed)} checks", [error for _, error in failed])
