"""The fingerprint of data: what tells whether a run goes on with the data that it was trained on.

It holds shapes, dtypes and SHA-256 digests, and nothing of the data itself.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data, take_rows
from arraymlp.data.row_plans import RowPlan
from arraymlp.data.splits import sample_rows
from arraymlp.data.stream import Streamed
from arraymlp.data.targets import Targets
from arraymlp.nn.scaling import Scaling

# By part of the data, such as "X": its shape, dtype and digest, in JSON's types.
Fingerprint: TypeAlias = dict[str, Any]

ROWS = 1000  # of X, evenly spread: a digest of them all would be another pass over the data
TRAINING = ("X", "y", "sample_weight", "rows")  # the parts that are trained on
# Standardised values hang on the last bits of a mean, which processors add up differently. They are
# compared in steps of this size, of which such a bit is a millionth of a millionth.
STEP = 2.0**-12


def _scale(scaling: Scaling | None) -> dict[str, Any]:
    """The units of standardised values: means over the columns of log2(scale), and mean/scale."""
    if scaling is None:
        return {}
    with np.errstate(all="ignore"):
        of = np.mean(np.log2(scaling.scale)), np.mean(scaling.mean / scaling.scale)
    return {"scale": [float(np.nan_to_num(value)) for value in of]}


def fingerprint(data: Data, backend: Backend) -> Fingerprint:
    """The fingerprint of a run's data: of some rows of X, and of all targets and weights.

    It is the same on every backend. Of rows that come in their order alone the first are taken.
    """
    rows = _of_rows(data.X, data.inputs is not None, backend)
    parts: Fingerprint = {"X": rows | _scale(data.inputs)}
    parts |= _of_targets("", data.y, backend)
    if data.X_val is not None and data.y_val is not None:
        parts["X of validation"] = _of_rows(data.X_val, data.inputs is not None, backend)
        parts |= _of_targets(" of validation", data.y_val, backend)
    if data.row_plans is not None:
        parts["rows"] = [row_plan_digests(plan) for plan in data.row_plans]
    return parts


def differing(now: Fingerprint, then: Fingerprint, *names: str) -> list[str]:
    """The parts of the data that differ, in words; of all parts, or of those named."""
    return [
        f"{name} was {_in_words(then.get(name))}, is {_in_words(now.get(name))}"
        for name in dict.fromkeys([*then, *now])
        if (not names or name in names) and not _same(now.get(name), then.get(name))
    ]


def without_scales(parts: Sequence[Fingerprint]) -> list[Fingerprint]:
    """Fingerprints without what has to be compared with a tolerance, for a digest of them."""
    return [
        {name: _apart(part)[0] if isinstance(part, dict) else part for name, part in each.items()}
        for each in parts
    ]


def _apart(part: Mapping[str, Any]) -> tuple[dict[str, Any], list[float]]:
    """A part of the data without its scale, and the scale."""
    rest = dict(part)
    scale: list[float] = rest.pop("scale", [])
    return rest, scale


def _same(now: Any, then: Any) -> bool:
    """Whether a part of the data is the same; of what is standardised, in the same units, too."""
    if not isinstance(now, dict) or not isinstance(then, dict):
        return bool(now == then)
    (a, scale), (b, other) = _apart(now), _apart(then)
    alike = len(scale) == len(other) and np.allclose(scale, other, rtol=1e-6, atol=1e-6)
    return bool(a == b and alike)


def knows_data(then: Fingerprint, now: Fingerprint) -> tuple[bool, bool]:
    """Whether the rows to train on are the same, and whether all data is, validation included."""
    return not differing(now, then, *TRAINING), not differing(now, then)


def _in_words(part: Any) -> str:
    if not isinstance(part, dict):
        return "none" if part is None else "of other rows"
    scale = f" at scale {part['scale'][0]:.7g}, {part['scale'][1]:.7g}" if "scale" in part else ""
    labels = f" of labels with digest {part['labels'][:8]}" if "labels" in part else ""
    digest = f"{part['kind']} with digest {part['digest'][:8]}"
    return f"{tuple(part['shape'])} {digest}{labels}{scale}"


def _of_targets(suffix: str, y: Targets, backend: Backend) -> Fingerprint:
    values = _of_array(y.values, y.scaling is not None, backend) | _scale(y.scaling)
    if y.classes is not None:
        values["labels"] = _digest(np.asarray(y.classes), False)
    parts = {f"y{suffix}": values}
    if y.weight is not None:
        parts[f"sample_weight{suffix}"] = _of_array(y.weight, False, backend)
    return parts


def _of_rows(X: Array | Streamed, scaled: bool, backend: Backend) -> Fingerprint:
    n = int(X.shape[0])
    if isinstance(X, Streamed):
        rows = np.arange(min(n, ROWS), dtype=np.int32)
        if X.any_order:
            rows = sample_rows(n, ROWS)
    else:
        rows = sample_rows(n, ROWS)
    return _of_array(take_rows(X, rows, backend), scaled, backend) | {
        "shape": [int(size) for size in X.shape]
    }


def _of_array(array: Array, scaled: bool, backend: Backend) -> Fingerprint:
    """Shape, kind and digest, which hang neither on the backend nor on how wide its numbers are."""
    values = backend.to_numpy(array)
    kind = "integers" if values.dtype.kind in "iub" else "numbers"
    return {"shape": list(values.shape), "kind": kind, "digest": _digest(values, scaled)}


def _digest(values: HostArray, scaled: bool) -> str:
    if values.dtype.kind == "U":
        return hashlib.sha256("\0".join(values.tolist()).encode()).hexdigest()
    if values.dtype.kind in "iub":
        canonical = values.astype("<i8")
    elif scaled:
        canonical = np.rint(values.astype(np.float64) / STEP).astype("<i8")
    else:
        canonical = values.astype(f"<f{values.itemsize}") + 0  # -0 is 0
    return hashlib.sha256(np.ascontiguousarray(canonical).data).hexdigest()


def row_plan_digests(plan: RowPlan) -> list[str | None]:
    """The digests of the rows that a member trains on, and of those it is validated on."""
    return [
        None if r is None else _digest(np.asarray(r), False) for r in (plan.rows, plan.held_out)
    ]
