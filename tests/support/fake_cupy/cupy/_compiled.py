"""What CuPy would compile by NVRTC: a kernel for each name, dtypes and layouts of its arguments.

The rules are those of CuPy 14.2: ``_core/_kernel.pyx`` (elementwise), ``_reduction.pyx`` and
``_cub_reduction.pyx``. Sums, maxima and the like of contiguous axes are compiled with CuPy, and so
are sorts. Counted is what a process compiles whose cache on disk is empty.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np

ELEMENTWISE, REDUCTION, CUB, OWN = "elementwise", "reduction", "CUB reduction", "raw module"
CUB_FROM, CUB_ITEMS, CUB_BLOCKS = 128, 4, (32, 512)
# Whose sums, and whose maxima, CuPy has kernels for.
SUMMED, ORDERED = "lLqQefdFD", "bBhHiIlLqQefdFD"

Layout: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]  # shape, strides
Operand: TypeAlias = "np.ndarray[Any, Any] | np.dtype[Any]"  # a scalar by its dtype


class Compilation(NamedTuple):
    """A kernel that was compiled.

    Attributes:
        kind: by what it takes; with CUB's headers it is seconds.
        name: of the kernel, or the first of a module's.
        key: what tells it from others of that name.
    """

    kind: str
    name: str
    key: Any


log: list[Compilation] = []
_known: set[Compilation] = set()


def compiled(kind: str, name: str, key: Any) -> None:
    """A kernel is asked for, and compiled where it is not yet."""
    compilation = Compilation(kind, name, key)
    if compilation not in _known:
        _known.add(compilation)
        log.append(compilation)


def forget() -> None:
    """Begin with nothing compiled."""
    log.clear()
    _known.clear()


def in_a_row(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> bool:
    """True for numbers that stand one after the other, row by row."""
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n == 0:
            return True
        if n != 1:
            if stride != itemsize:
                return False
            itemsize *= n
    return True


def elementwise(
    name: str,
    operands: Sequence[Operand],
    shape: tuple[int, ...],
    raw: Sequence[np.ndarray[Any, Any]] = (),
    reduces: bool = True,
) -> None:
    """An elementwise kernel over a shape.

    Args:
        name: of the kernel.
        operands: what it reads and writes, each broadcast to the shape.
        shape: of what it writes.
        raw: what it reads by numbers of its own.
        reduces: whether axes are put together where all operands let.
    """
    if 0 in shape:
        return
    arrays = [x for x in operands if isinstance(x, np.ndarray)]
    layouts = [_broadcast(x, shape) for x in arrays]
    rows = [in_a_row(*lay, x.itemsize) for lay, x in zip(layouts, arrays, strict=True)]
    ndim = _reduced_ndim(shape, layouts, rows) if reduces else len(shape)
    of_arrays = iter(rows)
    described = tuple(
        ("array", x.dtype.char, ndim, next(of_arrays))
        if isinstance(x, np.ndarray)
        else ("scalar", x.char)
        for x in operands
    )
    apart = tuple((x.dtype.char, *_reduced_view(x)) for x in raw)
    compiled(ELEMENTWISE, name, (described, apart, ndim))


def _broadcast(x: np.ndarray[Any, Any], shape: tuple[int, ...]) -> Layout:
    if x.shape == shape:
        return shape, x.strides
    missing = len(shape) - x.ndim
    strides = [0] * missing
    each = zip(x.shape, shape[missing:], x.strides, strict=True)
    strides += [0 if n == 1 and m != 1 else s for n, m, s in each]
    return shape, tuple(strides)


def _reduced_ndim(shape: tuple[int, ...], layouts: list[Layout], rows: list[bool]) -> int:
    """The number of axes that are left when they are put together where that can be done."""
    ndim = len(shape)
    if ndim <= 1 or not layouts:
        return ndim
    if all(rows):
        return 1
    if ndim == 2:
        return 2
    loose = [strides for (_, strides), row in zip(layouts, rows, strict=True) if not row]
    sizes, axes, last = list(shape), 0, -1
    for axis in range(ndim):
        if sizes[axis] == 1:
            continue
        if last >= 0:
            if any(s[axis] * sizes[axis] != s[last] for s in loose):
                axes += 1
            else:
                sizes[axis] *= sizes[last]
        last = axis
    return axes + (last >= 0)


def _reduced_view(x: np.ndarray[Any, Any]) -> tuple[int, bool]:
    """The axes of ``ndarray.reduced_view``, and whether its numbers stand in a row."""
    row = in_a_row(x.shape, x.strides, x.itemsize)
    if x.ndim <= 1:
        return x.ndim, row
    if row:
        return 1, True
    axes = [(n, s) for n, s in zip(x.shape, x.strides, strict=True) if n != 1]
    kept = sum(s != n2 * s2 for (_, s), (n2, s2) in pairwise(axes))
    return kept + 1, False


def ready(a: np.ndarray[Any, Any], axes: tuple[int, ...], chars: str) -> bool:
    """True where CuPy brings a compiled kernel (``cupy.cuda.cub``) for a reduction."""
    if a.dtype.char not in chars or not (a.flags.c_contiguous or a.flags.f_contiguous):
        return False
    if len(axes) == a.ndim:
        return True
    if a.size == 0:
        return False
    return _at_an_end(a, axes, "C" if a.flags.c_contiguous else "F")


def _at_an_end(a: np.ndarray[Any, Any], axes: tuple[int, ...], order: str) -> bool:
    if not axes or any(second - first != 1 for first, second in pairwise(axes)):
        return False
    return axes[-1] == a.ndim - 1 if order == "C" else axes[0] == 0


def reduction(
    name: str, a: np.ndarray[Any, Any], axes: tuple[int, ...], out: np.ndarray[Any, Any]
) -> None:
    """A reduction that CuPy has no kernel ready for.

    Args:
        name: of the kernel.
        a: what is reduced.
        axes: along which, sorted.
        out: the result, with these axes or without.
    """
    if out.size == 0:
        return
    size = int(np.prod([a.shape[axis] for axis in axes]))
    order = "F" if a.flags.f_contiguous else "C" if a.flags.c_contiguous else ""
    by_cub = order and size >= CUB_FROM and _at_an_end(a, axes, order)
    if by_cub and (len(axes) < a.ndim or size):
        least, most = CUB_BLOCKS
        block = min(max(1 << (-(-size // CUB_ITEMS) - 1).bit_length(), least), most)
        row = bool(a.flags.c_contiguous)
        given = (a.dtype.char, a.ndim, row, out.dtype.char, out.ndim, block)
        if len(axes) == a.ndim:
            compiled(CUB, f"{name}_pass1", given)
            compiled(CUB, f"{name}_pass2", given)
        else:
            compiled(CUB, name, given)
        return
    rest = tuple(axis for axis in range(a.ndim) if axis not in axes)
    if len(rest) <= 1 and not a.flags.c_contiguous:
        axes = tuple(sorted(axes, key=lambda axis: -abs(a.strides[axis])))
    given = (a.dtype.char, *_reduced_view(a.transpose(axes + rest)))
    compiled(REDUCTION, name, (given, out.dtype.char, *_reduced_view(out)))
