"""Layers and activations of the user's own, tried on two rows before they train.

Only what could not train, or trains on a wrong slope, is told. What raises on two rows may want
more of them, and is left to the training.
"""

import warnings
from contextlib import suppress
from typing import Any

import numpy as np

from arraymlp._checks import caller_level, require_arguments, require_methods
from arraymlp.backends.backend import Backend
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.layer import Layer
from arraymlp.nn.network import Network
from arraymlp.training.gradient_check.check import GradientError, check_gradients

ROWS = 2  # that are tried
ROUGHLY = 1e-2  # how far a slope may be off: an activation may compute in float32
METHODS = {
    "forward": ("x", "xp"),
    "backward_activation": ("s", "z", "dz", "xp"),
    "backward_parameters": ("x", "ds", "xp"),
    "backward_input": ("ds", "xp"),
}


class UnfitError(ValueError):
    """What was returned cannot be trained with."""


def require_layers(network: Network) -> None:
    """Raise a ValueError unless all that a network is made of can be a layer."""
    for i, layer in enumerate(network.layers, 1):
        given: Any = layer
        if isinstance(given, Layer):
            continue
        if isinstance(given, type) or not hasattr(given, "weights"):
            raise ValueError(
                f"layer {i} of the network is {given!r}: a layer must be an arraymlp.Layer, or an "
                "instance of a subclass"
            )
        require_methods(given, METHODS, "a layer")


def require_own_layers(network: Network) -> None:
    """Raise a ValueError where a layer or an activation of the user's own cannot be trained with.

    Each method is called with two rows, and must return arrays of the shapes that `Layer` says, or
    that broadcast to them. An activation's derivative is compared with finite differences where the
    backend has float64; one that differs, as a surrogate's may, is a warning.
    """
    backend, tried = network.backend, set[int]()
    with backend.active(), np.errstate(all="ignore"):
        for i, layer in enumerate(network.layers):
            own = ACTIVATIONS.get(layer.activation.name) != layer.activation
            if own and id(layer.activation) not in tried:
                tried.add(id(layer.activation))
                _try_activation(layer, network.dtype, backend)
            if type(layer) is not Layer:
                kind = type(layer).__name__
                for method, arguments in METHODS.items():
                    require_arguments(getattr(layer, method), arguments, f"{kind}.{method}")
                _try(_layer_works, layer, network.dtype, backend, i > 0)


def _try(trial: Any, *arguments: Any) -> None:
    """Try a piece; what it raises by itself is no verdict."""
    try:
        trial(*arguments)
    except UnfitError:
        raise
    except Exception:  # of any kind: it is the user's
        return


def _try_activation(layer: Layer, dtype: str, backend: Backend) -> None:
    """Call both functions, and hold one against the other."""
    activation = layer.activation
    _try(_activation_works, layer, dtype, backend)
    if not backend.has("float64"):
        return
    try:
        with suppress(ValueError, TypeError, AttributeError, RuntimeError, IndexError):
            check_gradients(activation, backend=backend, tolerance=ROUGHLY)
    except GradientError as error:
        if "f'(s)" in error.check.wrong:  # and not that f is of a row together, or of chance
            warnings.warn(
                f"{error}: unless that is meant, its derivative has a mistake",
                stacklevel=caller_level(),
            )


def _drawn(layer: Layer, dtype: str, backend: Backend, width: int) -> Any:
    """Numbers for two rows of a layer, of each member."""
    leading = tuple(int(n) for n in layer.weights.shape[:-2])
    rng = np.random.default_rng(width)
    return backend.asarray(rng.normal(size=(*leading, ROWS, width)), dtype)


def _activation_works(layer: Layer, dtype: str, backend: Backend) -> None:
    activation, s = layer.activation, _drawn(layer, dtype, backend, layer.n_out)
    name = f"activation {activation.name}"
    z = activation.function(s, backend.xp)
    _require_array(z, tuple(s.shape), f"function of {name}", exact=True)
    slope = activation.derivative(s, z, backend.xp)
    _require_array(slope, tuple(s.shape), f"derivative of {name}")


def _layer_works(layer: Layer, dtype: str, backend: Backend, passes_back: bool) -> None:
    kind, xp = type(layer).__name__, backend.xp
    x, dz = (_drawn(layer, dtype, backend, width) for width in (layer.n_in, layer.n_out))
    outputs = tuple(dz.shape)
    result: Any = layer.forward(x, xp)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise UnfitError(
            f"{kind}.forward must return (s, z), sums and outputs, not a {type(result).__name__}"
        )
    s, z = result
    for name, array in (("s", s), ("z", z)):
        _require_array(array, outputs, f"{kind}.forward, for {name},")
    ds = layer.backward_activation(s, z, dz, xp)
    _require_array(ds, outputs, f"{kind}.backward_activation")
    gradients: Any = layer.backward_parameters(x, ds, xp)
    if not isinstance(gradients, tuple | list) or len(gradients) != 2:
        raise UnfitError(
            f"{kind}.backward_parameters must return Gradients(weights, bias), not a "
            f"{type(gradients).__name__}"
        )
    for name, array, like in zip(
        ("weights", "bias"), gradients, (layer.weights, layer.bias), strict=True
    ):
        what = f"{kind}.backward_parameters, for {name},"
        _require_array(array, tuple(like.shape), what)
    if passes_back:
        dx = layer.backward_input(ds, xp)
        _require_array(dx, tuple(x.shape), f"{kind}.backward_input", exact=True)


def _require_array(array: Any, shape: tuple[int, ...], what: str, exact: bool = False) -> None:
    """An `UnfitError` unless it is an array, or a number, that broadcasts to a shape, or has it."""
    has = getattr(array, "shape", None)
    if isinstance(array, int | float | list) and not exact:
        return
    try:
        fits = has is not None and np.broadcast_shapes(tuple(has), shape) == shape
    except ValueError:
        fits = False
    if not fits or (exact and tuple(has or ()) != shape):
        kind = "None" if array is None else f"a {type(array).__name__}"
        given = kind if has is None else f"shape {tuple(has)}"
        raise UnfitError(f"{what} must return an array of shape {shape}, not {given}")
