"""The names of features, where a table has them: what keeps columns from changing places."""

from collections.abc import Sequence
from typing import Any

from arraymlp.data.frames.frame import Frame


def feature_names(X: Any) -> tuple[str, ...] | None:
    """The column names of a data frame; None of what has none, or others than texts."""
    if isinstance(X, Frame):
        return X.names
    columns = getattr(X, "columns", None)
    if columns is None or not hasattr(columns, "__iter__"):
        return None
    names = list(columns)
    return tuple(map(str, names)) if names and all(isinstance(n, str) for n in names) else None


def require_names(X: Any, expected: Sequence[str] | None, what: str) -> None:
    """A ValueError where the columns of X have other names, or another order, than expected.

    Args:
        X: anything; what has no names passes.
        expected: names, or None where there were none.
        what: the name of X, for messages.
    """
    require_same_names(feature_names(X), expected, what)


def require_same_names(
    names: Sequence[str] | None, expected: Sequence[str] | None, what: str
) -> None:
    """The same, of names that are known; None where there are none."""
    if names is None or expected is None or tuple(names) == tuple(expected):
        return
    if sorted(names) == sorted(expected):
        raise ValueError(
            f"the columns of {what} are those trained on, but in another order: give them as "
            f"[{_listed(expected)}]"
        )
    missing = [name for name in expected if name not in names]
    unknown = [name for name in names if name not in expected]
    said = [f"without {_listed(missing)}"] * bool(missing) + [f"with {_listed(unknown)}"] * bool(
        unknown
    )
    raise ValueError(
        f"the columns of {what} are not those trained on: {', '.join(said) or 'names repeat'}"
    )


def _listed(names: Sequence[str]) -> str:
    """The first few names, quoted."""
    shown = ", ".join(map(repr, names[:5]))
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
