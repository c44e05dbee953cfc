"""Values of swept settings, as they are written on a command line."""

from typing import Any

from arraymlp.training.settings import NUMBER, setting_names

NAMES = (
    "activation",
    "optimizer",
    "schedule",
    "initializer",
    "reduction",
    "loss",
    "dtype",
    "precision",
    "standardize",
)
SWITCH = {"true": True, "false": False}
WHOLE = ("seed", "order_seed", "batch_size", "epochs")
NUMBERS = (*(name for name in setting_names(NUMBER) if name != "learning_rate"), "dropout")
# In the order of a grid, whose last setting changes fastest.
SWEPT = ("learning_rate", "hidden", *NAMES, *WHOLE, *NUMBERS)


def values(name: str, text: str) -> Any:
    """The values of a setting, separated by commas: one value, or a list, which is swept.

    Whole numbers may be ranges as in Python, ``first:end`` or ``first:end:step``; the widths of
    layers are joined by hyphens, and ``none`` means no hidden layer.

    Raises:
        ValueError: a value that is not of the setting's type.
    """
    all_values: list[Any] = []
    for part in text.split(","):
        try:
            all_values += _values(name, part.strip())
        except ValueError as error:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} {text}: {error}") from error
    return all_values[0] if len(all_values) == 1 else all_values


def _values(name: str, part: str) -> list[Any]:
    """The value between two commas, or those of its range."""
    if not part:
        raise ValueError("a value is missing")
    if name == "hidden":
        return [_widths(part)]
    if name == "standardize":
        return [SWITCH.get(part, part)]
    if name in NAMES:
        return [part]
    whole = name in WHOLE
    try:
        numbers = [int(n) if whole else float(n) for n in part.split(":")]
    except ValueError as error:
        raise ValueError(f"{part!r} is no {'whole ' * whole}number") from error
    if len(numbers) == 1:
        return numbers
    if not whole or len(numbers) > 3 or not (in_range := list(range(*map(int, numbers)))):
        raise ValueError(f"{part!r} is no range of whole numbers such as 0:4")
    return in_range


def _widths(part: str) -> tuple[int, ...]:
    if part == "none":
        return ()
    widths = part.split("-")
    if not all(width.isdecimal() for width in widths):
        raise ValueError(f"{part!r} is no list of widths such as 100-50")
    return tuple(map(int, widths))
