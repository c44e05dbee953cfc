"""From what the user gives to `Data` on the device: training rows, validation rows, weights."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from arraymlp._checks import as_floats, caller_level, is_number
from arraymlp.backends.array import Array, is_device_array
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data, DataSettings, class_positions
from arraymlp.data.datasets import load_mnist
from arraymlp.data.inputs import Targets, features, numeric, targets
from arraymlp.data.splits import split
from arraymlp.data.stream import (
    Streamed,
    is_chunks,
    is_sparse,
    is_streamed,
    stream,
    stream_chunks,
)
from arraymlp.nn.network import Network

TOO_LARGE = (
    "X as a numpy.memmap, or as chunks (X, y), is read by window= rows at a time and need not fit."
)


def load_data(
    X: Any,
    y: Any,
    sample_weight: Any,
    settings: DataSettings,
    network: Network | None,
    backend: Backend,
) -> Data:
    """Check the training data and bring it to the device; MNIST with its test set for none.

    Raises:
        ValueError: anything about the data that cannot be trained with.
    """
    if X is None and y is None:
        if network is not None:
            raise ValueError("X and y are needed to go on training a network")
        mnist = load_mnist(dtype=settings.dtype)
        data = load_data(mnist.X_train, mnist.y_train, sample_weight, settings, None, backend)
        return add_validation(data, (mnist.X_test, mnist.y_test), settings, None, backend)
    n_features = None if network is None else network.sizes[0]
    x: Array | Streamed
    if y is None and is_chunks(X):
        x, y = stream_chunks(X, settings.dtype, n_features=n_features)
    elif X is None or y is None:
        raise ValueError(f"{'X' if X is None else 'y'} is missing: give both, or neither for MNIST")
    else:
        x = _rows(X, settings, backend, n_features, "X")
    known: dict[str, Any] = {"loss_name": settings.loss}
    if network is not None:
        known = {
            "loss_name": network.loss,
            "classes": network.classes,
            "n_outputs": network.sizes[-1],
        }
    t = targets(y, x.shape[0], backend, settings.dtype, **known)
    members = member_count(settings, network)
    return Data(x, _weighted(t, sample_weight, members, settings, backend, "sample_weight"))


def member_count(settings: DataSettings, network: Network | None) -> int | None:
    """K of the population that will be trained; None for one network."""
    if network is not None:
        return network.members
    return len(settings.seed) if isinstance(settings.seed, tuple) else None


def _rows(
    X: Any, settings: DataSettings, backend: Backend, n_features: int | None, what: str
) -> Array | Streamed:
    if is_streamed(X) or is_sparse(X):
        return stream(X, settings.dtype, n_features=n_features, what=what)
    with backend.within_memory(TOO_LARGE):
        return features(X, backend, settings.dtype, n_features=n_features, what=what)


def _weighted(
    t: Targets,
    weight: Any,
    members: int | None,
    settings: DataSettings,
    backend: Backend,
    what: str,
) -> Targets:
    """The targets with their samples' weights, checked: (N,), or (K, N) for one a member."""
    if weight is None:
        return t
    w, n = numeric(weight, backend, what), t.values.shape[0]
    w = backend.to_numpy(backend.asarray(w, settings.dtype)) if is_device_array(w) else w
    if w.shape not in ((n,), (members, n)):
        several = f", or ({members}, {n}) for one a member" if members else ""
        raise ValueError(f"{what} must have the shape ({n},){several}, not {w.shape}")
    with np.errstate(over="ignore"):
        converted = w.astype(settings.dtype)
    bad = np.argwhere(~(np.isfinite(converted) & (converted >= 0)))
    if bad.size:
        where = ", ".join(str(i) for i in bad[0])
        raise ValueError(
            f"{what} must be finite and not negative, but {what}[{where}] is {w[tuple(bad[0])]} as "
            f"{settings.dtype}"
        )
    return replace(t, weight=backend.asarray(np.ascontiguousarray(converted.T), copy=True))


def add_validation(
    data: Data,
    validation: Any,
    settings: DataSettings,
    network: Network | None,
    backend: Backend,
) -> Data:
    """Hold out a fraction of the training rows, or take (X, y) or (X, y, sample_weight)."""
    if is_number(validation):
        return _split(data, float(validation), settings, backend)
    return _with_validation(data, validation, settings, member_count(settings, network), backend)


def _split(data: Data, fraction: float, settings: DataSettings, backend: Backend) -> Data:
    """Hold some of the rows out for validation, the same fraction of each class."""
    classes = class_positions(data.y, backend)
    rows, held_out = split(data.X.shape[0], fraction, settings.order_seed, classes)
    kept, out = data.taken(rows, backend), data.taken(held_out, backend)
    return Data(kept.X, kept.y, out.X, out.y)


def _with_validation(
    data: Data, validation: Any, settings: DataSettings, members: int | None, backend: Backend
) -> Data:
    if not isinstance(validation, tuple) or len(validation) not in (2, 3):
        several = isinstance(validation, tuple)
        found = f"{len(validation)} things" if several else f"a {type(validation).__name__}"
        raise ValueError(
            "validation must be None, a fraction between 0 and 1, or a tuple (X, y) or "
            f"(X, y, sample_weight), not {found}"
        )
    X, y, *weight = validation
    known = data.y
    x = _rows(X, settings, backend, data.X.shape[1], "the validation X")
    t = targets(
        y,
        x.shape[0],
        backend,
        settings.dtype,
        loss_name=known.loss,
        classes=known.classes,
        n_outputs=known.n_outputs,
        what="the validation y",
    )
    what = "the validation sample_weight"
    own = weight[0] if weight else None
    return replace(data, X_val=x, y_val=_weighted(t, own, members, settings, backend, what))


def require_minibatches(n: int, settings: DataSettings) -> None:
    """Refuse a minibatch that n rows cannot fill; warn of rows that will be left over."""
    size = settings.batch_size
    if size > n:
        raise ValueError(
            f"batch_size {size} is larger than the data: {n} training samples; give batch_size={n} "
            "or less"
        )
    if settings.drop_last and n % size:
        warnings.warn(
            f"the last {n % size} of {n} samples do not fill a minibatch of {size} and are dropped",
            stacklevel=caller_level(),
        )


def columns(settings: DataSettings, data: Data) -> list[str]:
    """The figures that the history will have of each epoch."""
    kinds = ["loss"] + ["error"] * (data.y.loss.classifies != "no")
    kinds += [m.name for m in settings.metrics]
    met = ["loss"] + ["penalty"] * bool(np.any(as_floats(settings.alpha)))
    return met + [f"{part}_{kind}" for part in data.part_names(settings) for kind in kinds]
