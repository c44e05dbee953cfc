"""A stack's weights in a page: the last ones exactly, those of earlier epochs rounded to 8 bits.

Each unit's incoming weights are rounded to whole multiples of a power of two, the least with which
the largest of them is at most 127 multiples. From the last epoch backwards each snapshot then says
by how many multiples its weights differ from those of the next one, where that deflates to fewer
bytes: weights that do not change any more, as in a layer that died, cost nothing.
"""

import zlib
from typing import Any, TypeAlias

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.nn.network import Network
from arraymlp.nn.scaling import Scaling
from arraymlp.pages.packing import Block
from arraymlp.pages.subject import Stack
from arraymlp.training.snapshots import Snapshot

LARGEST = 127  # multiples
MOST_EXPONENT = 120  # of the power of two, so that float32 has it
MOST_RATIO = 2.0**16  # of the powers of two of snapshots that are compared

Rounded: TypeAlias = tuple[HostArray, HostArray]  # powers of two (..., n_out), int8 multiples


def described_stack(stack: Stack, block: Block) -> dict[str, Any]:
    """What ``decode.js`` makes networks of, in JSON's types; numbers go into the block."""
    network = stack.network
    final = stack.snapshots[-1]
    layers = [
        {
            "nIn": layer.n_in,
            "nOut": layer.n_out,
            "activation": layer.activation.name,
            "weights": block.add(weights),
            "bias": block.add(bias),
        }
        for layer, (weights, bias) in zip(network.layers, final.parameters, strict=True)
    ]
    return {
        "members": network.members or 1,
        "layers": layers,
        "loss": network.loss.name,
        "perTarget": network.loss.outputs_per_target,
        "largest": float(np.finfo(network.dtype).max),
        "inputs": _scaling(network, network.inputs, block),
        "outputs": _scaling(network, network.outputs, block),
        "encoding": None if stack.encoding is None else stack.encoding.to_json(),
        **_earlier(stack.snapshots, block),
    }


def _scaling(network: Network, scaling: Scaling | None, block: Block) -> dict[str, Any] | None:
    """A scaling's numbers, (K, n): each member's own, or K times the same."""
    if scaling is None:
        return None
    shape = network.members or 1, scaling.mean.shape[-1]
    parts = {"mean": scaling.mean, "scale": scaling.scale}
    return {name: block.add(np.broadcast_to(values, shape)) for name, values in parts.items()}


def _earlier(snapshots: tuple[Snapshot, ...], block: Block) -> dict[str, Any]:
    """The snapshots before the last, in order, and the scales by which that one is rounded."""
    if len(snapshots) == 1:
        return {"finalScales": [], "earlier": []}
    after = [_rounded(weights) for weights, _ in snapshots[-1].parameters]
    scales = [None if one is None else block.add(one[0]) for one in after]
    described: list[list[dict[str, Any]]] = []
    for snapshot in reversed(snapshots[:-1]):
        layers = []
        for i, (weights, bias) in enumerate(snapshot.parameters):
            entry: dict[str, Any] = {"bias": block.add(bias)}
            rounded = _rounded(weights)
            if rounded is None:
                entry["weights"] = block.add(weights)
            else:
                change = _change(rounded, after[i])
                differs = change is not None and _deflated(change) < _deflated(rounded[1])
                entry["scale"] = block.add(rounded[0])
                entry["multiples"] = block.add(
                    rounded[1] if change is None or not differs else change
                )
                entry["differs"] = differs
            after[i] = rounded
            layers.append(entry)
        described.append(layers)
    return {"finalScales": scales, "earlier": described[::-1]}


def _rounded(weights: HostArray) -> Rounded | None:
    """Weights (..., n_in, n_out), rounded; None where one is not finite, or they are too small."""
    if not np.isfinite(weights).all():
        return None
    largest = np.abs(weights).max(axis=-2).astype(np.float64)
    exponents = np.ceil(np.log2(np.where(largest > 0, largest, LARGEST) / LARGEST))
    if np.abs(exponents).max() > MOST_EXPONENT:
        return None
    scales = np.exp2(exponents)
    multiples = np.floor(weights / scales[..., None, :] + 0.5)
    return scales.astype(np.float32), multiples.astype(np.int8)


def _change(rounded: Rounded, after: Rounded | None) -> HostArray | None:
    """By how many multiples, modulo 256, weights differ from those of the next snapshot.

    None where there is none, or its multiples are far larger or smaller.
    """
    if after is None:
        return None
    ratio = after[0].astype(np.float64) / rounded[0]
    if ratio.max() > MOST_RATIO:
        return None
    expected = np.floor(after[1] * ratio[..., None, :] + 0.5).astype(np.int64)
    return (rounded[1] - expected).astype(np.int8)


def _deflated(values: HostArray) -> int:
    return len(zlib.compress(values.tobytes(), 6))
