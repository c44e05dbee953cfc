"""Products, sums and maxima of layers and losses, with members on a leading axis.

Where members see different rows (folds, or minibatch orders of their own), X has G groups on its
leading axis, each for K / G neighbouring members. What serves groups and speed stands here, so that
`Layer` and the losses read as their formulas.
"""

from functools import reduce

import array_api_compat

from arraymlp.backends.array import Array, Namespace, product

NARROW, FEW = 8, 4  # columns; wider rows are summed, or compared, quickly enough by the library


def matmul(a: Array, b: Array, xp: Namespace) -> Array:
    """A B over the last two axes; for A (G, m, n) and B (K, n, p), each A times K / G of B."""
    if a.ndim == 2 or a.shape[0] in (1, b.shape[0]):
        return product(a, b, xp)
    groups, members = int(a.shape[0]), int(b.shape[0])
    grouped = xp.reshape(b, (groups, members // groups, *b.shape[1:]))
    c = product(a[:, None, ...], grouped, xp)
    return xp.reshape(c, (members, *c.shape[2:]))


def repeat_groups(a: Array, members: int, xp: Namespace) -> Array:
    """(G, ...) repeated to (K, ...): each group's entry for its K / G neighbouring members."""
    groups = int(a.shape[0])
    if groups == members:
        return a
    shape = (groups, members // groups, *a.shape[1:])
    repeated = xp.broadcast_to(a[:, None, ...], shape)
    return xp.reshape(repeated, (members, *a.shape[1:]))


# NumPy reduces many short rows up to twenty times slower than BLAS multiplies them by a vector of
# ones; on other backends the two are alike.


def sum_rows(a: Array, xp: Namespace) -> Array:
    """(..., B, n) summed over its B rows: (..., 1, n)."""
    if a.shape[-1] >= NARROW:
        return xp.sum(a, axis=-2, keepdims=True)
    return product(_ones(a, (1, int(a.shape[-2])), xp), a, xp)


def sum_columns(a: Array, xp: Namespace) -> Array:
    """(..., B, n) summed over its n columns: (..., B, 1)."""
    if a.shape[-1] >= NARROW:
        return xp.sum(a, axis=-1, keepdims=True)
    return product(a, _ones(a, (int(a.shape[-1]), 1), xp), xp)


def max_columns(a: Array, xp: Namespace) -> Array:
    """The largest of the n columns of (..., B, n): (..., B, 1)."""
    if a.shape[-1] > FEW:
        return xp.max(a, axis=-1, keepdims=True)
    return reduce(xp.maximum, [a[..., j : j + 1] for j in range(a.shape[-1])])


def _ones(a: Array, shape: tuple[int, int], xp: Namespace) -> Array:
    device = array_api_compat.device(a)
    return xp.ones(shape, dtype=a.dtype, device=device)
