"""Jobs for the compiled engine: the struct of ``job.h`` filled from networks, rows and tables."""

from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray


def _fields(text: str) -> list[tuple[str, str]]:
    """Fields from lines "kind name name ...", in the order of ``job.h``."""
    kinds = {"index": "i8", "pointer": "u8"}
    rows = [line.split() for line in text.strip().splitlines()]
    return [(name, kinds[kind]) for kind, *names in rows for name in names]


LAYER = np.dtype(
    _fields(
        """
        pointer weights bias weights_1 weights_2 bias_1 bias_2 average_weights average_bias
        index n_in n_out activation dropped
        """
    )
)
PLAN = np.dtype(
    _fields(
        """
        pointer order
        index first n
        pointer x_mean x_factor y_mean y_factor
        """
    )
)
JOB = np.dtype(
    _fields(
        """
        index command bytes n_layers members n_plans
        pointer layers plans plan_of
        pointer x
        index x_step
        pointer labels targets
        index n_targets
        pointer weight
        index weights_of
        index batch steps from to
        index loss capped mean rule clips
        pointer loss_constants
        index loss_members loss_width
        index constants_of
        pointer constants keys thresholds drop_scales
        pointer loss_sum weight_sum penalty_sum
        pointer outputs
        index rows
        index threads together
        pointer scratch
        index scratch_bytes
        pointer control
        """
    )
)
CONTROL = np.dtype([("met", "i4", (96,)), ("seconds", "f8", (2,)), ("chunks", "i8")])
COUNT_BYTES, TRAIN, FORWARD = range(3)
MOST_LAYERS = 64


class Struct:
    """A struct for C, and the arrays that it points to, which it keeps."""

    def __init__(self, dtype: np.dtype[Any], count: int = 1) -> None:
        self.values: HostArray = np.zeros(count, dtype)
        self._kept: dict[tuple[int, str], object] = {}

    @property
    def address(self) -> int:
        """Where it stands in memory."""
        return address_of(self.values)

    def set(self, i: int = 0, **values: Any) -> None:
        """Set fields: numbers, or the addresses of arrays, and null for None."""
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                self._kept[i, name] = value
                value = address_of(value)
            elif isinstance(value, Struct):
                self._kept[i, name] = value
                value = value.address
            self.values[name][i] = 0 if value is None else value


def address_of(array: HostArray) -> int:
    """Where an array stands in memory."""
    return array.ctypes.data


def aligned(scratch: HostArray) -> int:
    """The first address in bytes that a cache line begins at; 64 of them may go unused."""
    at = address_of(scratch)
    return at + -at % 64


def with_whole_rows(x: HostArray, dtype: np.dtype[Any]) -> HostArray:
    """The rows (N, n), each one number after the other; a copy where they stand otherwise."""
    if x.dtype == dtype and x.strides[1] == x.itemsize and x.strides[0] % x.itemsize == 0:
        return x
    return np.ascontiguousarray(x, dtype)
