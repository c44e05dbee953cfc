"""The derivatives of layers and networks, beside finite differences."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import backend_of
from arraymlp.nn.layer import Layer
from arraymlp.nn.network import Network
from arraymlp.training.gradient_check.differences import slopes, slopes_by_entry, widths
from arraymlp.training.gradient_check.functions import ROWS, drawn_targets, targets_on
from arraymlp.training.gradient_check.term import Term, index_text, on_host

MOST = 400  # entries of an array that are tried


def layer_terms(layer: Layer, X: Any, rng: np.random.Generator) -> list[Term]:
    """dL/dS, dL/dW, dL/db and dL/dX of L, the sum of Z times numbers that are drawn.

    The first alone where it is wrong: the others are made of it.
    """
    backend, name = backend_of(layer.weights), type(layer).__name__
    layer, xp = in_float64(layer, backend), backend.xp
    leading = tuple(int(n) for n in layer.weights.shape[:-2])
    x = rng.normal(size=(*leading, ROWS, layer.n_in)) if X is None else np.array(X, np.float64)
    shape = (*leading, x.shape[-2], layer.n_out)
    r = rng.normal(size=shape)

    def device(a: HostArray) -> Any:
        return backend.asarray(a, "float64", copy=True)

    def forward(at: HostArray) -> tuple[HostArray, HostArray]:
        result = layer.forward(device(at), xp)
        if not isinstance(result, tuple) or len(result) != 2:
            kind = type(result).__name__
            raise ValueError(f"{name}.forward must return (s, z), sums and outputs, not a {kind}")
        s, z = (
            on_host(a, backend, f"{name}.forward, for {what},", shape)
            for what, a in zip("sz", result, strict=True)
        )
        return s, z

    s, z = forward(x)
    given = layer.backward_activation(device(s), device(z), device(r), xp)
    ds = on_host(given, backend, f"{name}.backward_activation", shape)
    of_sums = _sums_term(layer, s, z, r, ds, backend)
    if of_sums is not None and of_sums.judged(1e-6)[1]:
        return [of_sums]
    gradients = layer.backward_parameters(device(x), device(ds), xp)
    dx = layer.backward_input(device(ds), xp)

    def summed(at: HostArray) -> float:
        return float((forward(at)[1] * r).sum())

    terms = [] if of_sums is None else [of_sums]
    for part, term, gradient in zip(
        ("weights", "bias"), ("dL/dW", "dL/db"), gradients, strict=True
    ):
        terms.append(_parameter_term(term, gradient, layer, part, lambda: summed(x), backend, rng))
    of_input = _entries_term("dL/dX", dx, summed, x, backend, rng, x.shape[-2])
    weights = np.asarray(backend.to_numpy(layer.weights), np.float64)
    if layer.n_in == layer.n_out:
        of_input.mistakes["It is dL/dS W, where dL/dS W^T is right"] = ds @ weights
    return [*terms, of_input]


def network_terms(network: Network, X: Any, y: Any, rng: np.random.Generator) -> list[Term]:
    """dL/dW and dL/db of each layer, of the loss summed over samples and members."""
    backend = network.backend
    network = replace(network, layers=[in_float64(layer, backend) for layer in network.layers])
    loss, n_in, n_out = network.loss, network.layers[0].n_in, network.layers[-1].n_out
    x = rng.normal(size=(ROWS, n_in)) if X is None else np.array(X, dtype=np.float64)
    targets = targets_on(drawn_targets(loss, len(x), n_out, rng) if y is None else y, backend)
    inputs = backend.asarray(x, "float64", copy=True)
    caches = network.forward(inputs)
    _, delta = loss(caches[-1].z, targets)
    gradients = network.backward(caches, delta)

    def summed() -> float:
        value, _ = loss(network.forward(inputs)[-1].z, targets)
        return float(np.asarray(backend.to_numpy(value), np.float64).sum())

    return [
        _parameter_term(f"dL/d{symbol} of layer {i}", given, layer, part, summed, backend, rng)
        for i, (layer, gradient) in enumerate(zip(network.layers, gradients, strict=True), 1)
        for part, symbol, given in zip(("weights", "bias"), "Wb", gradient, strict=True)
    ]


def in_float64(layer: Layer, backend: Backend) -> Layer:
    """A copy of a layer in float64."""
    weights, bias = (
        backend.asarray(np.asarray(backend.to_numpy(a), dtype=np.float64), "float64", copy=True)
        for a in (layer.weights, layer.bias)
    )
    return layer.with_parameters(weights, bias)


def _sums_term(
    layer: Layer, s: HostArray, z: HostArray, r: HostArray, given: HostArray, backend: Backend
) -> Term | None:
    """dL/dS by the layer's activation; None where its outputs are not that function of its sums."""

    def f(at: HostArray) -> HostArray:
        values = layer.activation.function(backend.asarray(at, "float64", copy=True), backend.xp)
        return np.asarray(backend.to_numpy(values), np.float64)

    if not np.allclose(f(s), z, rtol=1e-9, atol=1e-9):
        return None
    slope, smooth, noise = slopes(f, s, widths(s), widths(s))
    mistakes = {
        "It lacks the factor f'(S)": r,
        "It is f'(S), without the factor dL/dZ": slope,
        "It has f(S) where f'(S) is right": r * z,
    }
    return Term("dL/dS", given, r * slope, smooth, mistakes, noise=np.abs(r) * noise)


def _parameter_term(
    name: str,
    given: Any,
    layer: Layer,
    part: str,
    summed: Callable[[], float],
    backend: Backend,
    rng: np.random.Generator,
) -> Term:
    """The gradient of a layer's weights or bias, which are as they were in the end."""
    at = np.array(backend.to_numpy(getattr(layer, part)))

    def moved(values: HostArray) -> float:
        setattr(layer, part, backend.asarray(values, "float64", copy=True))
        return summed()

    term = _entries_term(name, given, moved, at, backend, rng, ROWS)
    moved(at)
    return term


def _entries_term(
    name: str,
    given: Any,
    f: Callable[[HostArray], float],
    at: HostArray,
    backend: Backend,
    rng: np.random.Generator,
    rows: int,
) -> Term:
    """A gradient of f by an array, of all of its entries or of some hundred."""
    has = getattr(given, "shape", None)
    if has is not None and tuple(has) != at.shape:
        return Term(name, np.zeros(tuple(has)), np.zeros(at.shape), np.ones(at.shape, dtype=bool))
    host = on_host(given, backend, f"what gives {name}", at.shape)
    tried = np.arange(at.size)
    if at.size > MOST:
        tried = np.sort(rng.choice(at.size, MOST, replace=False))
    numeric, smooth, noise = slopes_by_entry(f, at, tried)
    mean = f"It is the mean over the {rows} rows, where their sum is right"
    if at.size <= MOST:
        numeric, smooth, noise = (a.reshape(at.shape) for a in (numeric, smooth, noise))
        return Term(name, host, numeric, smooth, {mean: numeric / rows}, noise=noise)

    def place(i: tuple[int, ...]) -> str:
        return index_text(tuple(int(k) for k in np.unravel_index(tried[i[0]], at.shape)))

    mistakes = {mean: numeric / rows}
    return Term(name, host.ravel()[tried], numeric, smooth, mistakes, place, noise=noise)
