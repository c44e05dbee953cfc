"""Layers and activations of the user's own, tried on two rows before they train."""

import warnings
from typing import Any

import numpy as np

from arraymlp._checks import caller_level, require_arguments
from arraymlp.backends.backend import Backend
from arraymlp.nn.activations import ACTIVATIONS, Activation
from arraymlp.nn.layer import Layer
from arraymlp.nn.network import Network
from arraymlp.training.gradient_check.check import GradientError, check_gradients

ROWS = 2  # that are tried
METHODS = {
    "forward": ("x", "xp"),
    "backward_activation": ("s", "z", "dz", "xp"),
    "backward_parameters": ("x", "ds", "xp"),
    "backward_input": ("ds", "xp"),
}


def require_layers(network: Network) -> None:
    """Raise a ValueError unless all that a network is made of are layers."""
    for i, layer in enumerate(network.layers, 1):
        if not isinstance(layer, Layer):
            raise ValueError(
                f"layer {i} of the network is {layer!r}: a layer must be an arraymlp.Layer, or an "
                "instance of a subclass"
            )


def require_own_layers(network: Network) -> None:
    """Raise a ValueError where a layer or an activation of the user's own cannot be trained with.

    Each method is called with two rows, and must return arrays of the shapes and the dtype that
    `Layer` says. An activation's derivative is compared with finite differences where the backend
    has float64; one that differs, as a surrogate's may, is a warning.
    """
    backend, tried = network.backend, set[int]()
    with backend.active(), np.errstate(all="ignore"):
        for layer in network.layers:
            own = ACTIVATIONS.get(layer.activation.name) != layer.activation
            if own and id(layer.activation) not in tried:
                tried.add(id(layer.activation))
                _try_activation(layer.activation, network.dtype, backend)
            if type(layer) is not Layer:
                _try_layer(layer, network.dtype, backend)


def _try_activation(activation: Activation, dtype: str, backend: Backend) -> None:
    """Call both functions, and hold one against the other."""
    s = backend.asarray(np.linspace(-1.0, 1.0, 3 * ROWS).reshape(ROWS, 3), dtype)
    name = f"activation {activation.name}"
    z = activation.function(s, backend.xp)
    _require_array(z, (ROWS, 3), s.dtype, f"function of {name}")
    slope = activation.derivative(s, z, backend.xp)
    if not isinstance(slope, int | float):
        _require_array(slope, (ROWS, 3), s.dtype, f"derivative of {name}")
    if backend.has("float64"):
        try:
            check_gradients(activation, backend=backend)
        except GradientError as error:
            warnings.warn(
                f"{error}: unless that is meant, its derivative has a mistake",
                stacklevel=caller_level(),
            )


def _try_layer(layer: Layer, dtype: str, backend: Backend) -> None:
    """Call the four methods, forward and back."""
    kind, xp = type(layer).__name__, backend.xp
    for method, arguments in METHODS.items():
        require_arguments(getattr(layer, method), arguments, f"{kind}.{method}")
    leading = tuple(int(n) for n in layer.weights.shape[:-2])
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> Any:
        return backend.asarray(rng.normal(size=(*leading, ROWS, *shape)), dtype)

    x, inputs = drawn(layer.n_in), (*leading, ROWS, layer.n_in)
    outputs = (*leading, ROWS, layer.n_out)
    result = layer.forward(x, xp)
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError(
            f"{kind}.forward must return (s, z), sums and outputs, not a {type(result).__name__}"
        )
    s, z = result
    for name, array in (("s", s), ("z", z)):
        _require_array(array, outputs, x.dtype, f"{kind}.forward, for {name},")
    ds = layer.backward_activation(s, z, drawn(layer.n_out), xp)
    _require_array(ds, outputs, x.dtype, f"{kind}.backward_activation")
    gradients = layer.backward_parameters(x, ds, xp)
    if not isinstance(gradients, tuple) or len(gradients) != 2:
        raise ValueError(
            f"{kind}.backward_parameters must return Gradients(weights, bias), not a "
            f"{type(gradients).__name__}"
        )
    for name, array, like in zip(
        ("weights", "bias"), gradients, (layer.weights, layer.bias), strict=True
    ):
        what = f"{kind}.backward_parameters, for {name},"
        _require_array(array, tuple(like.shape), x.dtype, what)
    _require_array(layer.backward_input(drawn(layer.n_out), xp), inputs, x.dtype,
                   f"{kind}.backward_input")  # fmt: skip


def _require_array(array: Any, shape: tuple[int, ...], dtype: Any, what: str) -> None:
    """A ValueError unless it is an array of that shape and dtype."""
    has = getattr(array, "shape", None)
    if has is None or tuple(has) != shape or array.dtype != dtype:
        kind = "None" if array is None else f"a {type(array).__name__}"
        given = kind if has is None else f"shape {tuple(has)}, {array.dtype}"
        raise ValueError(f"{what} must return an array of shape {shape}, {dtype}, not {given}")
