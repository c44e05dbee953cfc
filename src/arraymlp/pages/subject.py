"""What a page shows: the networks of a model in stacks, and their snapshots."""

from dataclasses import dataclass

import numpy as np

from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.layer import Layer
from arraymlp.nn.losses import LOSSES
from arraymlp.nn.network import Network
from arraymlp.training.ensemble import Ensemble
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.run import Run
from arraymlp.training.snapshots import AS_DRAWN, Snapshot, snapshot_of
from arraymlp.training.with_page import WithPage


@dataclass(frozen=True, eq=False)
class Stack:
    """Networks that share sizes, activations, kind of loss and encoding.

    Attributes:
        network: one network, or a population.
        encoding: what makes its features of a table; None where it takes these.
        snapshots: its weights after some epochs, the last of them those it has.
    """

    network: Network
    encoding: TableEncoding | None
    snapshots: tuple[Snapshot, ...]


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, as far as a page shows it.

    Attributes:
        stacks: its networks; the mean of all of them predicts.
        run: where it is one.
    """

    stacks: tuple[Stack, ...]
    run: Run | None

    @property
    def first(self) -> Network:
        """A network that stands for all in what they predict."""
        return self.stacks[0].network


def subject_of(model: WithPage) -> Subject:
    """What a page shows of a model.

    Raises:
        TypeError: it is none of these.
        ValueError: it has a layer, an activation or a loss that the page cannot compute.
    """
    if isinstance(model, Run):
        return Subject(tuple(_stacks_of(model.network, model)), model)
    if isinstance(model, Ensemble):
        return Subject(tuple(s for n in model.networks for s in _stacks_of(n, None)), None)
    if isinstance(model, MultilayerPerceptron):
        return Subject(tuple(_stacks_of(model, None)), None)
    raise TypeError(
        "a page shows a Run, a MultilayerPerceptron or an Ensemble, not a "
        f"{type(model).__name__}: of a sweep, result.best.network; of an estimator, its network_"
    )


def _stacks_of(network: Network, run: Run | None) -> list[Stack]:
    """A population in stacks with one encoding each."""
    _require_known(network)
    encodings = network.encoding
    taken = () if run is None else _snapshots(run)
    if not isinstance(encodings, tuple):
        return [Stack(network, _table_encoding(encodings), taken or (_as_it_is(network),))]
    stacks = []
    for encoding in dict.fromkeys(encodings):
        members = [k for k, other in enumerate(encodings) if other == encoding]
        part = network.select_members(members)
        own = tuple(snapshot.members(members) for snapshot in taken)
        stacks.append(Stack(part, _table_encoding(encoding), own or (_as_it_is(part),)))
    return stacks


def _snapshots(run: Run) -> tuple[Snapshot, ...]:
    """A run's snapshots up to the weights it has, which early stopping may have put back."""
    best = [epoch for epoch in np.ravel(run.best_epoch).tolist() if epoch is not None]
    last = int(run.history[-1]["epoch"]) if len(run.history) else AS_DRAWN
    epoch = max(best, default=last)
    steps = [record["step"] for record in run.history if record["epoch"] == epoch]
    now = _as_it_is(run.network, epoch, int(steps[-1]) if best and steps else run.steps_done)
    return (*(s for s in run.snapshots if s.epoch < now.epoch), now)


def _as_it_is(network: Network, epoch: int = AS_DRAWN, step: int = 0) -> Snapshot:
    return snapshot_of(network, epoch, step)


def _table_encoding(encoding: object) -> TableEncoding | None:
    if encoding is None or isinstance(encoding, TableEncoding):
        return encoding
    raise ValueError(
        f"a {type(encoding).__name__} is not of this package: a page cannot compute it"
    )


def _require_known(network: Network) -> None:
    """Raise a ValueError unless all of it is what ``forward.js`` has."""
    for layer in network.layers:
        if type(layer) is not Layer:
            raise ValueError(
                f"a page cannot compute a {type(layer).__name__}: it has the package's Layer alone"
            )
        if ACTIVATIONS.get(layer.activation.name) != layer.activation:
            raise ValueError(
                f"a page cannot compute the activation {layer.activation.name!r}: it has "
                f"{', '.join(ACTIVATIONS)}"
            )
    if type(LOSSES.get(network.loss.name)) is not type(network.loss):
        raise ValueError(
            f"a page cannot compute the outputs of the loss {network.loss.name!r}: it has "
            f"{', '.join(LOSSES)}"
        )
