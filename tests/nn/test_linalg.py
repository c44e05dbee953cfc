"""Products and sums of layers: `arraymlp.nn.linalg`. Their values are tested as layers' are."""

import numpy as np

from arraymlp.backends.backend import Backend
from arraymlp.nn import linalg


def test_products_are_without_floating_point_warnings(backend: Backend) -> None:
    """BLAS may raise the flags of lanes that are not the product's: the result says what is so."""
    xp = backend.xp
    a = backend.asarray([[np.inf, 1.0], [1e30, 1e30]], "float32")
    b = backend.asarray([[0.0, 1e30], [1.0, 1e30]], "float32")
    product = backend.to_numpy(linalg.matmul(a, b, xp))
    np.testing.assert_array_equal(
        product, np.asarray([[np.nan, np.inf], [1e30, np.inf]], "float32")
    )
    opposite = backend.asarray([[np.inf], [-np.inf]], "float32")
    assert np.isnan(backend.to_numpy(linalg.sum_rows(opposite, xp)))
    assert np.isnan(backend.to_numpy(linalg.sum_columns(opposite.mT, xp)))
