"""Every way to look at an array of array_api_strict, for tests that forbid it."""

import array_api_strict

ARRAY = type(array_api_strict.asarray(0.0))
# Every way from an array to a Python value, and every way of its values to the host.
LOOKS = (
    "__bool__",
    "__int__",
    "__float__",
    "__index__",
    "__complex__",
    "__iter__",
    "__array__",
    "__buffer__",
    "__dlpack__",
    "to_device",
)


class LookedError(Exception):
    """An array's value was asked for inside an epoch."""
