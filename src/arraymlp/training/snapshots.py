"""Snapshots: the weights of a run as they were after some of its epochs, to look at afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraymlp._checks import Rule
from arraymlp.backends.array import HostArray
from arraymlp.nn.network import Network
from arraymlp.training.schema import COUNT, Form, ModelFileError

AS_DRAWN = -1  # the epoch of the snapshot before the first step


@dataclass(frozen=True, eq=False, repr=False)
class Snapshot:
    """A network's parameters after an epoch, as it would have predicted with them.

    With ``weight_average`` they are the average's.

    Attributes:
        epoch: the epoch at whose end it was taken; -1 before the first step.
        step: how many steps were done by then.
        parameters: weights and bias of each layer, on the host; of a population with K in front:
            (..., n_in, n_out) and (..., 1, n_out).
    """

    epoch: int
    step: int
    parameters: tuple[tuple[HostArray, HostArray], ...]

    def __repr__(self) -> str:
        when = f"after epoch {self.epoch}" if self.epoch != AS_DRAWN else "before the first step"
        return f"<Snapshot {when}, {len(self.parameters)} layers>"

    def members(self, which: int | Sequence[int]) -> "Snapshot":
        """That of one member of a population, or of several, by their places in it."""
        chosen = tuple((weights[which], bias[which]) for weights, bias in self.parameters)
        return Snapshot(self.epoch, self.step, chosen)


def snapshot_of(network: Network, epoch: int, step: int) -> Snapshot:
    """A snapshot of a network as it is now."""
    arrays = [a for layer in network.layers for a in (layer.weights, layer.bias)]
    on_host = [np.array(a) for a in network.backend.fetch(arrays)]  # copies
    return Snapshot(epoch, step, tuple(zip(on_host[::2], on_host[1::2], strict=True)))


def spread(snapshots: Sequence[Snapshot], latest: Snapshot, at_most: int) -> list[Snapshot]:
    """The snapshots to keep once there is another: at most so many, evenly spread over the epochs.

    Kept are those after each m-th epoch, with the least power of 2 for m that makes them few
    enough, the first and the latest among them. So it does not have to be known how many epochs
    there will be.

    Args:
        snapshots: those kept so far.
        latest: the new one.
        at_most: how many may be kept, at least 2.
    """
    done, every = latest.epoch + 1, 1
    while done // every + 1 + (done % every > 0) > at_most:
        every *= 2
    earlier = (s for s in snapshots if s.epoch < latest.epoch)
    return [*(s for s in earlier if (s.epoch + 1) % every == 0), latest]


# What a file says of a snapshot; its arrays stand among the tensors.
SNAPSHOT: Form = {
    "epoch": Rule("a whole number from -1", lambda v: v == AS_DRAWN or COUNT.allows(v)),
    "step": COUNT,
}


def described_snapshots(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """What a file says of snapshots: an entry for its content, none where there are none."""
    described = [{"epoch": s.epoch, "step": s.step} for s in snapshots]
    return {"snapshots": described} if described else {}


def snapshot_arrays(snapshots: Sequence[Snapshot], prefix: str = "") -> dict[str, HostArray]:
    """Their parameters, by the names that files have for them."""
    return {
        f"{prefix}snapshots.{j}.layers.{i}.{part}": array
        for j, snapshot in enumerate(snapshots)
        for i, layer in enumerate(snapshot.parameters)
        for part, array in zip(("weights", "bias"), layer, strict=True)
    }


def restored_snapshots(
    content: Mapping[str, Any],
    tensors: dict[str, HostArray],
    network: Network,
    prefix: str = "",
) -> list[Snapshot]:
    """The snapshots of a file, whose arrays are taken out of its tensors.

    Args:
        content: of the file, held to its form.
        tensors: of the file.
        network: whose parameters they were.
        prefix: of their names.

    Raises:
        ModelFileError: they are not of such a network, or not in the order of their epochs.
    """
    entries = content.get("snapshots", [])
    epochs = [entry["epoch"] for entry in entries]
    if sorted(set(epochs)) != epochs:
        raise ModelFileError("the epochs of its snapshots do not follow one another")

    def taken(name: str, like: Any) -> HostArray:
        tensor = tensors.pop(name, None)
        if tensor is None or tensor.shape != tuple(like.shape) or tensor.dtype != network.dtype:
            raise ModelFileError(f"its {name} is not that of its network")
        return tensor

    return [
        Snapshot(
            entry["epoch"],
            entry["step"],
            tuple(
                (
                    taken(f"{prefix}snapshots.{j}.layers.{i}.weights", layer.weights),
                    taken(f"{prefix}snapshots.{j}.layers.{i}.bias", layer.bias),
                )
                for i, layer in enumerate(network.layers)
            ),
        )
        for j, entry in enumerate(entries)
    ]
