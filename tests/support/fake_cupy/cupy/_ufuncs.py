"""Elementwise functions, and the operators of arrays that are made of them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cupy import _compiled, _state
from cupy._memory import require_free
from cupy._ndarray import HostArray, by_rows, ndarray, on_device, require_here

UFUNCS = (
    "add",
    "subtract",
    "multiply",
    "divide",
    "true_divide",
    "floor_divide",
    "remainder",
    "mod",
    "power",
    "negative",
    "positive",
    "absolute",
    "sign",
    "sqrt",
    "square",
    "reciprocal",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "logaddexp",
    "sin",
    "cos",
    "tan",
    "arcsin",
    "arccos",
    "arctan",
    "arctan2",
    "sinh",
    "cosh",
    "tanh",
    "arcsinh",
    "arccosh",
    "arctanh",
    "hypot",
    "floor",
    "ceil",
    "trunc",
    "rint",
    "isfinite",
    "isinf",
    "isnan",
    "signbit",
    "copysign",
    "nextafter",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
    "logical_not",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "invert",
    "left_shift",
    "right_shift",
    "conjugate",
)
__all__ = [*UFUNCS, "clip", "round", "ufunc", "where"]
NUMBERS = (bool, int, float, complex, np.generic)


class ufunc:  # noqa: N801
    """An elementwise function, by NumPy's. It takes arrays of the device, and numbers."""

    def __init__(self, of_numpy: Any) -> None:
        self._of_numpy = of_numpy
        self.__name__ = of_numpy.__name__
        self.nin, self.nout = of_numpy.nin, of_numpy.nout

    def __repr__(self) -> str:
        return f"<ufunc 'cupy_{self.__name__}'>"

    def __call__(self, *args: Any, out: Any = None, dtype: Any = None, casting: Any = None) -> Any:
        if not self.nin <= len(args) <= self.nin + 1:
            raise TypeError(f"Wrong number of arguments for 'cupy_{self.__name__}'.")
        if len(args) > self.nin:
            *args, out = args  # type: ignore[assignment]
        return _applied(self.__name__, self._of_numpy, args, out, dtype, casting)


def _applied(
    name: str, function: Any, args: Any, out: ndarray | None, dtype: Any, casting: Any = None
) -> ndarray:
    require_here(*args, out)
    hosts = [operand(arg) for arg in args]
    given = {} if dtype is None else {"dtype": np.dtype(dtype)}
    if casting is not None:
        given["casting"] = casting
    shape = np.broadcast_shapes(*[np.shape(host) for host in hosts])
    if out is None:
        require_free(shape, np.result_type(*hosts))
        with np.errstate(all="ignore"):
            new = by_rows(function(*hosts, **given))
        _note(name, hosts, new)
        return on_device(new)
    here = out._host
    with np.errstate(all="ignore"):
        # The same errors at once, though the work may be recorded.
        small = [
            host[(slice(0, 1),) * host.ndim] if isinstance(host, np.ndarray) else host
            for host in hosts
        ]
        function(*small, out=np.empty_like(here[(slice(0, 1),) * here.ndim]), **given)
    if np.broadcast_shapes(shape, here.shape) != here.shape:
        raise ValueError("Out shape is mismatched")
    _note(name, hosts, here)

    def work() -> None:
        with np.errstate(all="ignore"):
            function(*hosts, out=here, **given)

    _state.current_stream().queue(work)
    return out


def operand(arg: Any) -> Any:
    """What NumPy computes with; arrays of the host are refused, as CuPy does."""
    if isinstance(arg, ndarray):
        return arg._host
    if type(arg) in NUMBERS or isinstance(arg, np.generic):
        return arg
    raise TypeError(f"Unsupported type {type(arg)}")


def _note(name: str, hosts: Any, new: HostArray) -> None:
    """Count the kernel. A number is converted to the dtype that the arrays beside it have."""
    dtypes = [host.dtype for host in hosts if isinstance(host, np.ndarray)] or [new.dtype]
    common = np.result_type(*dtypes, *[h for h in hosts if not isinstance(h, np.ndarray)])
    operands = [host if isinstance(host, np.ndarray) else common for host in hosts]
    _compiled.elementwise(f"cupy_{name}", [*operands, new], new.shape)


def where(condition: Any, x: Any, y: Any) -> ndarray:
    """Numbers of x where the condition is true, of y elsewhere."""
    condition = condition.astype("?", copy=False)
    return _applied("where", np.where, (condition, x, y), None, None)


def clip(a: ndarray, a_min: Any = None, a_max: Any = None, out: ndarray | None = None) -> ndarray:
    """Numbers cut off below and above."""
    return _applied("clip", np.clip, (a, a_min, a_max), out, None)


def round(a: ndarray, decimals: int = 0) -> ndarray:
    """Numbers rounded."""
    return _applied("round", lambda x, **_: np.round(x, decimals), (a,), None, None)


def _binary(function: ufunc, reflected: bool = False) -> Callable[[ndarray, Any], Any]:
    def operator(self: ndarray, other: Any) -> Any:
        if getattr(other, "__array_priority__", 0) > self.__array_priority__:
            return NotImplemented
        return function(other, self) if reflected else function(self, other)

    return operator


def _in_place(function: ufunc) -> Callable[[ndarray, Any], ndarray]:
    def operator(self: ndarray, other: Any) -> ndarray:
        function(self, other, self)
        return self

    return operator


def _power(self: ndarray, other: Any) -> Any:
    """Squares, roots and reciprocals have functions of their own in CuPy, too."""
    if type(other) in (int, float) and self.dtype.kind == "f":
        special = {2: square, 0.5: sqrt, -1.0: reciprocal}.get(other)
        if special is not None and (other == 2 or type(other) is float):
            return special(self)
    return power(self, other)


_ufuncs = {name: ufunc(getattr(np, name)) for name in UFUNCS}
globals().update(_ufuncs)
power, square, sqrt, reciprocal = (_ufuncs[n] for n in ("power", "square", "sqrt", "reciprocal"))
BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
}
COMPARISONS = {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}
UNARY = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}

for _name, _function in BINARY.items():
    setattr(ndarray, f"__{_name}__", _binary(_ufuncs[_function]))
    setattr(ndarray, f"__r{_name}__", _binary(_ufuncs[_function], reflected=True))
    setattr(ndarray, f"__i{_name}__", _in_place(_ufuncs[_function]))
for _name, _function in COMPARISONS.items():
    setattr(ndarray, f"__{_name}__", _binary(_ufuncs[_function]))
for _name, _function in UNARY.items():
    setattr(ndarray, f"__{_name}__", lambda self, function=_ufuncs[_function]: function(self))
ndarray.__pow__ = _power  # type: ignore[attr-defined]
ndarray.__hash__ = None  # type: ignore[assignment]
