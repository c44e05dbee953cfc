"""Products and sums of layers: `arraymlp.nn.linalg`. Their values are tested as layers' are."""

import numpy as np
import pytest

from arraymlp.backends.backend import Backend
from arraymlp.nn import linalg


def test_products_are_without_warnings_of_invalid_values(backend: Backend) -> None:
    """BLAS may raise the flag of lanes that are not the product's: NaN says what is invalid."""
    xp = backend.xp
    a = backend.asarray([[np.inf, 1.0], [2.0, 3.0]], "float32")
    b = backend.asarray([[0.0, 5.0], [1.0, 7.0]], "float32")
    right = np.asarray([[np.nan, np.inf], [3, 31]], "float32")
    np.testing.assert_array_equal(backend.to_numpy(linalg.matmul(a, b, xp)), right)
    groups, members = xp.stack([a, a]), xp.stack([b, b, b, b])
    of_groups = backend.to_numpy(linalg.matmul(groups, members, xp))
    np.testing.assert_array_equal(of_groups, np.stack([right] * 4))
    opposite = backend.asarray([[np.inf], [-np.inf]], "float32")
    assert np.isnan(backend.to_numpy(linalg.sum_rows(opposite, xp)))
    assert np.isnan(backend.to_numpy(linalg.sum_columns(opposite.mT, xp)))


def test_an_overflow_is_told_as_by_numpy(numpy_backend: Backend) -> None:
    huge = numpy_backend.asarray([[1e30]], "float32")
    with pytest.warns(RuntimeWarning, match="overflow encountered in matmul"):
        assert np.isinf(linalg.matmul(huge, huge, numpy_backend.xp))
