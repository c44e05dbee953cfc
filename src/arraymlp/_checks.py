"""Checks and messages that the rooms share: names, numbers, shapes, and the caller's line."""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from math import inf
from numbers import Real
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])


def lookup(table: Mapping[str, T], name: object, what: str, own: str = "") -> T:
    """Return ``table[name]``; a ValueError offers the nearest name where there is none.

    Args:
        table: by name.
        name: what was given.
        what: it is, for the message.
        own: what else may be given, for the message.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    error = unknown(table, name, what)
    raise ValueError(f"{error} Or give {own}.") if own else error


def require_arguments(function: Any, names: Sequence[str], what: str) -> None:
    """Raise a ValueError unless a function of the user's can be called with these arguments.

    Args:
        function: what was given.
        names: of the arguments, by position.
        what: it is, for the message.
    """
    if not callable(function):
        raise ValueError(f"{what} must be a function of ({', '.join(names)}), not {function!r}")
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # of functions in C not all have one
        return
    try:
        signature.bind(*names)
    except TypeError:
        raise ValueError(
            f"{what} must take ({', '.join(names)}), but it takes {signature}"
        ) from None


def require_methods(given: Any, methods: Mapping[str, Sequence[str]], base: str) -> None:
    """Raise a ValueError unless an object of the user's has methods with these arguments.

    Args:
        given: the object.
        methods: the arguments of each by its name, without self.
        base: whose methods they are, for the message.
    """
    kind = type(given).__name__
    absent = [name for name in methods if not callable(getattr(given, name, None))]
    if absent:
        listed = ", ".join(f"{name}({', '.join(methods[name])})" for name in absent)
        raise ValueError(f"{kind} lacks {listed}, which {base} must have")
    for name, arguments in methods.items():
        require_arguments(getattr(given, name), arguments, f"{kind}.{name}")


def unknown(names: Iterable[str], name: object, what: str) -> ValueError:
    """The error for a ``name`` that is none of ``names``."""
    names = sorted(names)
    close = get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ValueError(f"unknown {what} {name!r}: {hint}There is {', '.join(names)}.")


def nearest(names: Iterable[str], name: str) -> str:
    """A hint for the end of a message: the one of ``names`` that may have been meant, or ""."""
    close = get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def is_number(value: object) -> bool:
    """True for a real number, but not for True and False."""
    return isinstance(value, Real) and not isinstance(value, bool)


def to_python(value: Any) -> Any:
    """A sequence or array of values as a tuple of Python's numbers; anything else unchanged."""
    if value is np.ma.masked:  # it has no value, and would pass for None
        return str(value)
    if isinstance(value, np.ma.MaskedArray) and value.ndim == 1:
        value = list(value)  # whose tolist has None for masked values
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray | memoryview):
        return value
    return tuple(_scalar(v) for v in value)


def _scalar(value: Any) -> Any:
    """An element of a sequence as Python's number; a masked one, which has none, as text."""
    if value is np.ma.masked:
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def as_tuple(name: str, value: Any) -> tuple[Any, ...]:
    """The values of a setting that has one value, or one a member."""
    if value == ():
        raise ValueError(f"{name} is empty: give one value for each member")
    return value if isinstance(value, tuple) else (value,)


def as_floats(value: Any) -> Any:
    """A setting's one value as a float, or its K values as a host array (K,) of float64."""
    return np.asarray(value, dtype=float) if isinstance(value, tuple) else float(value)


def of_member(value: Any, k: int | None) -> Any:
    """The k-th of a list or tuple, one value a member; anything else, or for k None, unchanged."""
    return value[k] if k is not None and isinstance(value, list | tuple) else value


def merge(values: Sequence[T]) -> T:
    """K members' values as one setting: the shared value, or a tuple; dataclasses by field."""
    first = values[0]
    if all(v == first for v in values):
        return first
    if not is_dataclass(first) or isinstance(first, type):
        return cast(T, tuple(values))
    merged = {f.name: merge([getattr(v, f.name) for v in values]) for f in fields(first)}
    return replace(first, **merged)


def error_text(error: BaseException) -> str:
    """An exception as a reason in a table: its class and the first line of its message."""
    first_line = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first_line}"


class Rule(NamedTuple):
    """A condition on a number, in words and as a function.

    Attributes:
        what: completes the message "x must be ...".
        allows: True for a number that meets it.
    """

    what: str
    allows: Callable[[Any], bool]


POSITIVE = Rule("a positive number", lambda v: 0 < v < inf)
NOT_NEGATIVE = Rule("a number from 0", lambda v: 0 <= v < inf)
PROBABILITY = Rule("from 0 up to but not 1", lambda v: 0 <= v < 1)
SWITCH = Rule("True or False", lambda v: isinstance(v, bool | np.bool))


def require_switch(name: str, value: object) -> None:
    """Raise a ValueError unless the value is True or False."""
    if not SWITCH.allows(value):
        raise ValueError(f"{name} must be {SWITCH.what}, not {value!r}")


def require_numbers(name: str, value: Any, rule: Rule) -> None:
    """Raise a ValueError unless a setting's value, or each of K, meets the rule.

    The value is as `to_python` returns it.
    """
    for v in as_tuple(name, value):
        if not is_number(v) or not rule.allows(v):
            raise ValueError(f"{name} must be {rule.what}, not {v!r}")


def keep_numbers(instance: object, **rules: Rule) -> None:
    """Store attributes of a frozen dataclass as Python's numbers, K in a tuple, and check them."""
    for name, rule in rules.items():
        value = to_python(getattr(instance, name))
        object.__setattr__(instance, name, value)
        require_numbers(name, value, rule)


def require_table(shape: Sequence[int], what: str) -> None:
    """Raise a ValueError unless the shape is (samples, features), with at least one of each."""
    if len(shape) != 2:
        raise ValueError(
            f"{what} must be 2-D (samples, features), not {len(shape)}-D of shape {tuple(shape)}"
        )
    if 0 in shape:
        raise ValueError(f"{what} is empty: shape {tuple(shape)}")


def require_width(n: int, expected: int | None, what: str) -> None:
    """Raise a ValueError unless n features are as many as expected; None expects any number."""
    if n != expected and expected is not None:
        raise ValueError(f"{what} has {n} features, but {expected} are expected")


def caller_level() -> int:
    """The stacklevel with which our caller's warning points at the first frame outside arraymlp."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    return level


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "arraymlp"


class BriefSignature(inspect.Signature):
    """A signature whose text has the positional parameters alone.

    Its ``parameters`` are all there, for editors; ``help`` begins with what the function does.
    """

    def format(self, **options: Any) -> str:
        """The positional parameters without their types, as text."""
        shown = [
            str(p.replace(annotation=p.empty))
            for p in self.parameters.values()
            if p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_KEYWORD
        ]
        return f"({', '.join([*shown, '*', '...'])})"

    __str__ = format


def with_brief_help(function: Function) -> Function:
    """Return the function itself, with a `BriefSignature`: for one with very many parameters."""
    full = inspect.signature(function)
    brief = BriefSignature(list(full.parameters.values()), return_annotation=full.return_annotation)
    function.__signature__ = brief  # type: ignore[attr-defined]
    return function
