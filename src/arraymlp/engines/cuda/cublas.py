"""The arguments of cuBLAS for a matrix product, from shapes and strides alone.

Nothing is copied: a transposed view is a flag of cuBLAS's (`cupy.matmul` copies it where matrices
are stacked), and a matrix that members share is 0 numbers apart from the next member's.

cuBLAS stores matrices by columns. In memory a matrix by rows is its transpose by columns, and so
cuBLAS computes out^T = B^T A^T.
"""

from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias, cast

from arraymlp.backends.array import Array
from arraymlp.engines.cuda.arrays import DeviceArray

Layout: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], int]  # shape, strides, bytes a number


class Multiplies(Protocol):
    """A function that multiplies matrices and adds the product to another."""

    def __call__(
        self, a: Array, b: Array, out: Array, alpha: float = 1.0, beta: float = 0.0
    ) -> None:
        """Put alpha A B + beta out into out; with beta 0 the former out does not count, even NaN.

        Args:
            a: as for `plan`, contiguous by rows or columns.
            b: likewise, of a's dtype.
            out: contiguous by rows, of the same dtype; float32 where that is uint16.
            alpha: a number on the host.
            beta: a number on the host.
        """
        ...


class Plan(NamedTuple):
    """A product in cuBLAS's column order, ``out^T <- op(B) op(A)``, or calls of several of them.

    Attributes:
        transposed: True where op transposes B, and A.
        sizes: m, n and k: rows and columns of out^T, and the length of the sums.
        leading: numbers between columns of B, A and out^T.
        apart: numbers between a call's neighbouring matrices of each.
        matrices: the number of products of a call.
        steps: numbers between the first matrices of neighbouring calls, of each.
        calls: the number of calls.
    """

    transposed: tuple[bool, bool]
    sizes: tuple[int, int, int]
    leading: tuple[int, int, int]
    apart: tuple[int, int, int]
    matrices: int
    steps: tuple[int, int, int]
    calls: int


def plan(a: Array, b: Array, out: Array) -> Plan:
    """Plan the product of arrays of these shapes and strides; nothing is copied.

    Args:
        a: (m, k), (1, m, k), (K, m, k), or (G, m, k), each matrix for K / G neighbouring members.
        b: (k, n), (1, k, n) or (K, k, n).
        out: (m, n), or (K, m, n).

    Raises:
        ValueError: shapes that do not fit, or a matrix of which neither rows nor columns are
            contiguous (out: of which rows are not).
    """
    return _plan(_layout(a), _layout(b), _layout(out))


def _layout(array: Array) -> Layout:
    on_device = cast(DeviceArray, array)
    return on_device.shape, on_device.strides, on_device.itemsize


@lru_cache(maxsize=4096)
def _plan(a: Layout, b: Layout, out: Layout) -> Plan:
    (*_, m, k), (*_, n) = a[0], b[0]
    if b[0][-2:] != (k, n) or out[0][-2:] != (m, n):
        raise ValueError(f"shapes {a[0]} and {b[0]} have no product of shape {out[0]}")
    members, groups = _leading_axis(out), _leading_axis(a)
    if members % groups or _leading_axis(b) not in (1, members):
        raise ValueError(f"{a[0]} and {b[0]} are not for {members} members")
    matrices = [_matrix(layout) for layout in (b, a, out)]
    if matrices[2][0]:
        raise ValueError(f"rows of the result must be contiguous, not of strides {out[1]}")
    # Numbers between neighbouring members' matrices; 0 for one that all share.
    b_apart, a_apart, out_apart = (
        layout[1][0] // layout[2] if _leading_axis(layout) > 1 else 0 for layout in (b, a, out)
    )
    group_size = members // groups
    of_members = b_apart, 0, out_apart  # in a group
    of_groups = group_size * b_apart, a_apart, group_size * out_apart
    if groups <= group_size:  # a call for each group
        apart, count, steps, calls = of_members, group_size, of_groups, groups
    else:  # a call for the first member of each group, one for the second, ...
        apart, count, steps, calls = of_groups, groups, of_members, group_size
    return Plan(
        (matrices[0][0], matrices[1][0]),
        (n, m, k),
        (matrices[0][1], matrices[1][1], matrices[2][1]),
        apart,
        count,
        steps,
        calls,
    )


def _leading_axis(layout: Layout) -> int:
    shape = layout[0]
    return shape[0] if len(shape) > 2 else 1


def _matrix(layout: Layout) -> tuple[bool, int]:
    """True for a matrix stored by columns; and the numbers between its rows or columns."""
    shape, strides, item = layout
    (rows, columns), (down, across) = shape[-2:], (stride // item for stride in strides[-2:])
    if all(stride % item == 0 and stride >= 0 for stride in strides):
        if (across == 1 or columns == 1) and (down >= columns or rows == 1):
            return False, max(down, columns) if rows > 1 else columns
        if (down == 1 or rows == 1) and (across >= rows or columns == 1):
            return True, max(across, rows) if columns > 1 else rows
    raise ValueError(f"a matrix of shape {shape} and strides {strides} bytes is none of cuBLAS's")
