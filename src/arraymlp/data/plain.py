"""Reads plain JSON strictly: what a file says is of the right type, or a ValueError says where."""

from collections.abc import Collection
from math import isfinite
from reprlib import repr as brief
from typing import Any


def read_object(value: Any, names: Collection[str], where: str) -> dict[str, Any]:
    """An object with these names and no others."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object, not {brief(value)}")
    absent = [name for name in names if name not in value]
    if absent:
        raise ValueError(f"{where} lacks {', '.join(absent)}")
    unknown = [name for name in value if name not in names]
    if unknown:
        raise ValueError(f"{where} has {brief(unknown[0])}, of which this version knows nothing")
    return value


def read_list(value: Any, where: str) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list, not {brief(value)}")
    return value


def read_text(value: Any, where: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise ValueError(f"{where} must be text, not {brief(value)}")
    return value


def read_flag(value: Any, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{where} must be true or false, not {brief(value)}")
    return value


def read_count(value: Any, where: str) -> int:
    """A whole number from 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{where} must be a whole number from 0, not {brief(value)}")
    return value


def read_number(value: Any, where: str) -> float:
    """A finite number, which JSON may have as an integer."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
        if isfinite(number):
            return number
    raise ValueError(f"{where} must be a finite number, not {brief(value)}")


def read_numbers(value: Any, where: str) -> tuple[float, ...]:
    """A list of finite numbers."""
    return tuple(read_number(v, f"{where}[{i}]") for i, v in enumerate(read_list(value, where)))
