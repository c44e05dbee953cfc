"""Logits by the compiled engine."""

from typing import cast

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.engines.cpu.library import Native
from arraymlp.engines.cpu.native import (
    CONTROL,
    COUNT_BYTES,
    FORWARD,
    JOB,
    LAYER,
    Struct,
    aligned,
    with_whole_rows,
)
from arraymlp.engines.numbers import ACTIVATION_NUMBERS
from arraymlp.nn.network import Network

ROWS = 96  # of a block that goes through all layers while its values are in the cache
# Below so many multiply-adds the definition, whose calls cost less, is as fast.
WORTH_A_CALL = 500_000


class NativeForward:
    """Rows (B, n_in) to logits (..., B, n); threads may call it together, on rows of their own.

    Args:
        network: its parameters may change between calls, not its sizes.
        native: the library.
    """

    def __init__(self, network: Network, native: Native) -> None:
        self._network, self._native = network, native
        self._dtype = np.dtype(network.dtype)

    def __call__(self, x: Array) -> Array:
        """Return the logits."""
        network, rows = self._network, cast(HostArray, x)
        k = network.members or 1
        covered = rows.ndim == 2 and rows.dtype == self._dtype
        if not covered or len(rows) * network.n_parameters * k < WORTH_A_CALL:
            return network.forward(x, network.backend.xp)[-1].z
        rows = with_whole_rows(rows, self._dtype)
        layers = Struct(LAYER, len(network.layers))
        for i, layer in enumerate(network.layers):
            layers.set(
                i,
                weights=np.ascontiguousarray(layer.weights),
                bias=np.ascontiguousarray(layer.bias),
                n_in=layer.n_in,
                n_out=layer.n_out,
                activation=ACTIVATION_NUMBERS[layer.activation],
            )
        out = np.empty((k, len(rows), network.sizes[-1]), self._dtype)
        job = Struct(JOB)
        job.set(
            command=COUNT_BYTES,
            bytes=self._dtype.itemsize,
            n_layers=len(network.layers),
            members=k,
            layers=layers,
            batch=min(ROWS, len(rows)),
        )
        size = self._native.run(job.address)
        scratch = np.empty(size + 64, np.uint8)
        job.set(
            command=FORWARD,
            x=rows,
            x_step=rows.strides[0] // rows.itemsize,
            outputs=out,
            rows=len(rows),
            threads=1,
            scratch=aligned(scratch),
            scratch_bytes=size,
            control=Struct(CONTROL),
        )
        self._native.run(job.address)
        return cast(Array, out[0] if network.members is None else out)
