"""Values of swept settings, as they are written on a command line."""

from typing import Any

from arraymlp.training.settings import NUMBER, setting_names

WHOLE = ("seed", "order_seed", "batch_size", "epochs")
NAMES = (
    "activation",
    "optimizer",
    "schedule",
    "initializer",
    "reduction",
    "loss",
    "dtype",
    "precision",
)
SWEPT = ("learning_rate", "hidden", *NAMES, *WHOLE, *setting_names(NUMBER), "dropout")


def values(name: str, text: str) -> Any:
    """The values of a setting, separated by commas: one, or a list, which is swept.

    Whole numbers may be a range as Python's, ``first:end`` or ``first:end:step``; layers' widths
    are joined by hyphens, and ``none`` is no hidden layer.

    Raises:
        ValueError: a value that is not of the setting's kind.
    """
    found: list[Any] = []
    for part in text.split(","):
        try:
            found += _values(name, part.strip())
        except ValueError as error:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} {text}: {error}") from error
    return found[0] if len(found) == 1 else found


def _values(name: str, part: str) -> list[Any]:
    if not part:
        raise ValueError("a value is missing")
    if name == "hidden":
        if part == "none":
            return [()]
        widths = part.split("-")
        if not all(width.isdecimal() for width in widths):
            raise ValueError(f"{part!r} is no list of widths such as 100-50")
        return [tuple(map(int, widths))]
    if name in NAMES:
        return [part]
    kind = int if name in WHOLE else float
    try:
        numbers = [kind(number) for number in part.split(":")]
    except ValueError as error:
        raise ValueError(f"{part!r} is no {'whole ' * (kind is int)}number") from error
    if len(numbers) == 1:
        return numbers
    if kind is float or len(numbers) > 3 or not (several := list(range(*map(int, numbers)))):
        raise ValueError(f"{part!r} is no range of whole numbers such as 0:4")
    return several
