"""What a model file may say: forms for its JSON, and one function that holds a value to a form.

A form is a `Rule` for one value; ``[form]`` for a list of such; a dict for an object with these
names and no others, where a name that ends in "?" may be absent, and "*" stands for any name.
"""

import sys
from collections.abc import Mapping
from reprlib import repr as brief
from typing import Any, TypeAlias

from arraymlp._checks import Rule, is_number

Form: TypeAlias = "Rule | list[Form] | Mapping[str, Form]"


class ModelFileError(ValueError):
    """The file is not a model file of this package, or it is damaged; the message says how."""


class FormatVersionError(ModelFileError):
    """The file is of a format that a newer version of this package has brought."""


def _is_finite(value: object) -> bool:
    """Whether it is a number that float64 holds: JSON's integers have any number of digits."""
    return is_number(value) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63


def _are_numbers(value: object, depth: int) -> bool:
    if isinstance(value, list) and depth:
        return all(_are_numbers(v, depth - 1) for v in value)
    return _is_finite(value)


def _is_shallow(value: object, depth: int) -> bool:
    """Whether lists and objects are nested less deeply than that."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > 0 and all(_is_shallow(v, depth - 1) for v in inner)


def optional(rule: Rule) -> Rule:
    """The rule, or null."""
    return Rule(f"{rule.what} or null", lambda v: v is None or rule.allows(v))


ANY = Rule("nested less than 50 deep", lambda v: _is_shallow(v, 50))
TEXT = Rule("text", lambda v: isinstance(v, str))
FLAG = Rule("true or false", lambda v: isinstance(v, bool))
NUMBER = Rule("a finite number", _is_finite)
REAL = Rule("a number", lambda v: isinstance(v, float) or _is_finite(v))  # NaN, too
NUMBERS = Rule("a number, or lists of numbers", lambda v: _are_numbers(v, 2))
COUNT = Rule("a whole number", lambda v: _is_whole(v, 0))
POSITIVE = Rule("a whole number from 1", lambda v: _is_whole(v, 1))
INT64 = Rule("an integer of 64 bits", lambda v: _is_whole(v, -(2**63)))
PLAIN = Rule(
    "text, a number, true, false or null",
    lambda v: v is None or isinstance(v, str | bool) or _is_finite(v),
)


def require(value: Any, form: Form, where: str) -> None:
    """A ModelFileError unless a value has the form.

    Args:
        value: of JSON's types.
        form: what it must be.
        where: the value stands, for the message.
    """
    if isinstance(form, Rule):
        if not form.allows(value):
            raise ModelFileError(f"{where} must be {form.what}, not {brief(value)}")
    elif isinstance(form, list):
        if not isinstance(value, list):
            raise ModelFileError(f"{where} must be a list, not {brief(value)}")
        for i, item in enumerate(value):
            require(item, form[0], f"{where}[{i}]")
    else:
        _require_object(value, form, where)


def _require_object(value: Any, form: Mapping[str, Form], where: str) -> None:
    if not isinstance(value, dict):
        raise ModelFileError(f"{where} must be an object, not {brief(value)}")
    absent = [name for name in form if name != "*" and name[-1] != "?" and name not in value]
    if absent:
        raise ModelFileError(f"{where} lacks {', '.join(absent)}")
    rules = {name.removesuffix("?"): rule for name, rule in form.items()}
    for name, item in value.items():
        rule = rules.get(name, rules.get("*"))
        if rule is None:
            raise ModelFileError(f"{where} has {brief(name)}, of which this version knows nothing")
        require(item, rule, f"{where}[{brief(name)}]")
