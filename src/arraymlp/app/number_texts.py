"""Floating-point numbers as texts with the fewest digits that read back as the same."""

import numpy as np

from arraymlp.backends.array import HostArray

DIGITS = {np.dtype(np.float32): (6, 9), np.dtype(np.float16): (3, 5)}  # always kept; always enough
EXACT = 22  # powers of ten up to here are exact in float64


def number_texts(values: HostArray) -> list[str]:
    """Numbers (N,) of a floating dtype as texts, such as "0.1", "1e-05" and "nan".

    Python writes a float64 so. A smaller number is made the float64 of the shortest decimal that
    rounds to it: its digits are rounded to 6, and to more where these do not.
    """
    if values.dtype not in DIGITS:
        return list(map(repr, values.astype(np.float64).tolist()))
    exact = values.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        least = np.floor(np.log10(np.abs(exact)))  # the power of ten of the first digit
        texts = exact.copy()
        few, enough = DIGITS[values.dtype]
        open_ = np.isfinite(exact) & (exact != 0)
        normal = np.abs(exact) >= np.finfo(values.dtype).tiny  # others have fewer digits
        normal &= np.abs(few - 1 - least) <= EXACT
        for digits in range(few, enough + 1):
            rows = np.flatnonzero(open_ & normal)
            if not len(rows):
                break
            decimal = _rounded(exact[rows], digits - 1 - least[rows])
            same = decimal.astype(values.dtype) == values[rows]
            texts[rows[same]] = decimal[same]
            open_[rows[same]] = False
    result = list(map(repr, texts.tolist()))
    for row in np.flatnonzero(open_).tolist():  # very small or large ones
        result[row] = str(values[row])
    return result


def _rounded(values: HostArray, places: HostArray) -> HostArray:
    """Values (N,) rounded to so many decimal places each, to the float64 of that decimal; or NaN.

    An integer below 2^53 over or times a power of ten up to 10^22 is rounded once.
    """
    power = 10.0 ** np.minimum(np.abs(places), EXACT)
    down = np.rint(values * power) / power
    up = np.rint(values / power) * power
    rounded: HostArray = np.where(places >= 0, down, up)
    rounded[np.abs(places) > EXACT] = np.nan
    return rounded
