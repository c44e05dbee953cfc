"""Dataclasses as plain JSON and back: by their fields' types, strictly, with no code of their own.

A class that has a ``kind`` is told by it from the others of a union.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from math import isfinite
from reprlib import repr as brief
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from arraymlp._checks import lookup


def to_plain(value: Any) -> Any:
    """A dataclass as an object of JSON, a tuple as a list; anything else as it is."""
    if is_dataclass(value):
        kind = {"kind": value.kind} if hasattr(value, "kind") else {}
        return kind | {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    return [to_plain(v) for v in value] if isinstance(value, tuple) else value


def of_plain(form: Any, value: Any, where: str) -> Any:
    """What `to_plain` made this value of.

    Args:
        form: its type: float, int (not negative), bool, str, a dataclass, a union of dataclasses,
            or a tuple of any number of one of these.
        value: of JSON's types.
        where: it stands, for messages.

    Raises:
        ValueError: it is of another type, is no finite number, has other names than the fields, or
            the dataclass refuses its values.
    """
    if form in _READERS:
        return _READERS[form](value, where)
    if get_origin(form) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list, not {brief(value)}")
        return tuple(of_plain(get_args(form)[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    kinds = get_args(form) if isinstance(form, UnionType) else (form,)
    return _dataclass(kinds, value, where)


def _dataclass(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object, not {brief(value)}")
    kind, names = kinds[0], set(value)
    if hasattr(kind, "kind"):
        try:
            kind = lookup({k.kind: k for k in kinds}, value.get("kind"), "kind")
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        names.discard("kind")
    forms = get_type_hints(kind)
    wanted = [f.name for f in fields(kind)]
    absent = [name for name in wanted if name not in names]
    if absent:
        raise ValueError(f"{where} lacks {', '.join(absent)}")
    unknown = sorted(map(str, names.difference(wanted)))
    if unknown:
        raise ValueError(f"{where} has {brief(unknown[0])}, of which this version knows nothing")
    read = {name: of_plain(forms[name], value[name], f"{where}.{name}") for name in wanted}
    try:
        return kind(**read)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} must be text, not {brief(value)}")
    return value


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{where} must be true or false, not {brief(value)}")
    return value


def _count(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"{where} must be a whole number from 0, not {brief(value)}")
    return value


def _number(value: Any, where: str) -> float:
    """A finite number; JSON may have it as an integer, of any number of digits."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            if isfinite(number := float(value)):
                return number
        except OverflowError:
            pass
    raise ValueError(f"{where} must be a finite number, not {brief(value)}")


_READERS: Mapping[Any, Callable[[Any, str], Any]] = {
    str: _text,
    bool: _flag,
    int: _count,
    float: _number,
}
