"""Engines made of the definition, right or broken on purpose, to try the check of engines with."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from arraymlp.nn.network import Network
from arraymlp.steps.epoch import NO_SUMS, LossSums
from arraymlp.steps.step import EpochStep, array_step
from arraymlp.steps.update import tree_map
from arraymlp.training import engine, engine_check

# (network, states, batch, hyper, step) -> states, sums
Behaviour = Callable[..., Any]


class OwnStep(EpochStep):
    """Steps by a behaviour, one by one or an epoch at a time."""

    def __init__(self, step: Any, behaviour: Behaviour) -> None:
        self._step, self._behaviour = step, behaviour

    def __call__(self, network: Any, states: Any, batch: Any, hyper: Any) -> Any:
        return self._behaviour(network, states, batch, hyper, self._step)

    def epoch(
        self,
        network: Any,
        states: Any,
        rows: Any,
        table: Any,
        interrupted: Any,
        sums: LossSums = NO_SUMS,
    ) -> Any:
        for i, hyper in enumerate(table):
            batch = rows.minibatch(i, network.backend)
            states[:], more = self(network, states, batch, hyper)
            sums = sums.plus(more)
        return table.steps, sums


@dataclass
class OwnEngine:
    """An engine, by the signatures of `arraymlp.steps.step.Engine`."""

    behaviour: Behaviour
    together: bool = True
    name: str = "own"
    precisions: tuple[str, ...] = ("float32",)
    profiles: bool = True

    def uncovered(self, network: Network, optimizer: Any = None) -> str:
        return ""

    def step(
        self, network: Any, optimizer: Any, reduction: Any, profile: Any, precision: Any
    ) -> Any:
        own = OwnStep(array_step(network, optimizer, reduction, profile), self.behaviour)
        return own if self.together else own.__call__

    def evaluator(self, network: Network) -> None:
        return None

    def forward(self, network: Network) -> None:
        return None


def take_engine(monkeypatch: pytest.MonkeyPatch, own: Any, backend: str = "numpy") -> None:
    """Train by this engine on a backend, in a process that has checked no engine yet."""
    module = ModuleType("own_engine")
    module.load = lambda: own  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_engine", module)
    monkeypatch.setitem(engine.ENGINE_MODULES, backend, "own_engine")
    monkeypatch.setattr(engine_check, "_verdicts", {})


def right(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
    return step(network, states, batch, hyper)


def in_double(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
    """The step in float64, of which the results alone are rounded."""

    def wide(a: Any) -> Any:
        is_float = isinstance(a, np.ndarray) and a.dtype.kind == "f"
        return a.astype("float64") if is_float else a

    def rounded(a: Any, like: Any) -> Any:
        like[...] = a
        return like

    doubled = network._map_parameters(wide)
    x, y, weight = (wide(a) for a in batch)
    again = array_step(doubled, *recorded(step))
    after, sums = again(
        doubled, tree_map(wide, states), replace(batch, x=x, y=y, weight=weight),
        tree_map(wide, hyper),
    )  # fmt: skip
    for layer, a in zip(network.layers, doubled.layers, strict=True):
        layer.weights[...], layer.bias[...] = a.weights, a.bias
    narrow = network.layers[0].weights.dtype
    cast = [s.astype(narrow) if isinstance(s, np.ndarray | np.floating) else s for s in sums]
    return tree_map(rounded, after, states), LossSums(*cast)


def recorded(step: Any) -> tuple[Any, str]:
    """The optimiser and the reduction that `array_step` made a step for."""
    cells = dict(zip(step.__code__.co_freevars, step.__closure__, strict=True))
    return cells["optimizer"].cell_contents, cells["reduction"].cell_contents


def shuffled(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
    """The step with units, features and rows in reverse: all sums are added in another order."""
    if hyper.dropout is not None:  # its masks hang on the numbers of units and rows
        return step(network, states, batch, hyper)
    layers, last = list(network.layers), len(network.layers) - 1

    def turned(i: int, weights: Any, bias: Any) -> Any:
        columns = slice(None) if i == last else slice(None, None, -1)
        return weights[..., ::-1, :][..., columns], bias[..., columns]

    twin = replace(network, layers=[
        a.with_parameters(*(np.array(p) for p in turned(i, a.weights, a.bias)))
        for i, a in enumerate(layers)
    ])  # fmt: skip
    own = [
        tuple(tree_map(np.array, s) for s in turned_states(turned, i, *of_layer))
        for i, of_layer in enumerate(states)
    ]
    y = batch.y
    rows = -1 if y.dtype.kind in "iu" else -2
    turned_batch = replace(
        batch,
        x=batch.x[..., ::-1, ::-1],
        y=np.flip(y, rows),
        weight=None if batch.weight is None else batch.weight[..., ::-1],
    )
    own, sums = step(twin, own, turned_batch, hyper)
    for i, (layer, a) in enumerate(zip(layers, twin.layers, strict=True)):
        layer.weights[...], layer.bias[...] = turned(i, a.weights, a.bias)
    back = [turned_states(turned, i, *of_layer) for i, of_layer in enumerate(own)]

    def write(like: Any, a: Any) -> Any:
        like[...] = a
        return like

    return tree_map(write, states, back), sums


def turned_states(turned: Any, i: int, of_weights: Any, of_bias: Any) -> Any:
    return (
        tree_map(lambda a: turned(i, a, a[..., :1, :])[0], of_weights),
        tree_map(lambda a: turned(i, a[..., :1, :], a)[1], of_bias),
    )
