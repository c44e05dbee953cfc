"""What cuBLAS is told of a matrix product, from shapes and strides alone.

Nothing is copied: a transposed view is a flag of cuBLAS's (`cupy.matmul` copies it where matrices
are stacked), and a matrix that members share stands 0 numbers from itself.

cuBLAS knows matrices by columns. In memory a matrix by rows is its transpose by columns, and so
out^T = B^T A^T is what it is told to do.
"""

from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias

from arraymlp.backends.array import Array

Layout: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], int]  # shape, strides, bytes a number


class Multiplies(Protocol):
    """A function that multiplies matrices, adding to what is there."""

    def __call__(
        self, a: Array, b: Array, out: Array, alpha: float = 1.0, beta: float = 0.0
    ) -> None:
        """Put alpha A B + beta out into out; with beta 0 what was there does not count, even NaN.

        Args:
            a: as for `plan`, contiguous by rows or columns.
            b: likewise, of a's dtype.
            out: contiguous by rows, of that dtype too; float32 where it is uint16.
            alpha: a number on the host.
            beta: likewise.
        """
        ...


class Plan(NamedTuple):
    """A product as cuBLAS's columns have it: ``out^T <- op(B) op(A)``, some of them in a call.

    Attributes:
        transposed: whether op transposes B, and A.
        sizes: m, n and k: rows and columns of out^T, and what is summed over.
        leading: numbers between columns of B, A and out^T.
        apart: numbers between a call's neighbouring matrices of each.
        matrices: how many a call makes.
        steps: numbers between what neighbouring calls begin with, of each.
        calls: how many.
    """

    transposed: tuple[bool, bool]
    sizes: tuple[int, int, int]
    leading: tuple[int, int, int]
    apart: tuple[int, int, int]
    matrices: int
    steps: tuple[int, int, int]
    calls: int


def plan(a: Array, b: Array, out: Array) -> Plan:
    """How to multiply arrays of these shapes and strides; nothing is copied.

    Args:
        a: (m, k); or (1, m, k), or (K, m, k), or (G, m, k), each of it for K / G neighbours.
        b: likewise (k, n), but not (G, k, n).
        out: (m, n), or (K, m, n).

    Raises:
        ValueError: shapes that do not fit, or a matrix neither whose rows nor whose columns are
            contiguous (of out: whose rows are not).
    """
    return _plan(_layout(a), _layout(b), _layout(out))


def _layout(array: Array) -> Layout:
    return array.shape, array.strides, array.itemsize


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
    # How far apart the matrices are; one that all members share is 0 from itself.
    b_apart, a_apart, out_apart = (
        layout[1][0] // layout[2] if _leading_axis(layout) > 1 else 0 for layout in (b, a, out)
    )
    each = members // groups
    of_members = b_apart, 0, out_apart  # in a group
    of_groups = each * b_apart, a_apart, each * out_apart
    if groups <= each:  # a call for each group
        apart, count, steps, calls = of_members, each, of_groups, groups
    else:  # a call for the first of each group, one for the second, ...
        apart, count, steps, calls = of_groups, groups, of_members, each
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
    """Whether a matrix is stored by columns, and how many numbers its rows or columns are apart."""
    shape, strides, item = layout
    (rows, columns), (down, across) = shape[-2:], (stride // item for stride in strides[-2:])
    if all(stride % item == 0 and stride >= 0 for stride in strides):
        if (across == 1 or columns == 1) and (down >= columns or rows == 1):
            return False, max(down, columns) if rows > 1 else columns
        if (down == 1 or rows == 1) and (across >= rows or columns == 1):
            return True, max(across, rows) if columns > 1 else rows
    raise ValueError(f"a matrix of shape {shape} and strides {strides} bytes is none of cuBLAS's")
