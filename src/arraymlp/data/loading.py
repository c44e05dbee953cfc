"""Loads the user's rows, targets, weights and validation data as `Data` on the device."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from arraymlp._checks import as_floats, caller_level, is_number, require_table
from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.chunks import is_chunks, stream_chunks
from arraymlp.data.data import Data, DataSettings, class_positions
from arraymlp.data.datasets import load_mnist
from arraymlp.data.inputs import Targets, features, numeric, targets
from arraymlp.data.names import feature_names, require_names, require_same_names
from arraymlp.data.splits import split
from arraymlp.data.standardize import (
    learn_scaling,
    learn_target_scaling,
    scales_features,
    scales_targets,
)
from arraymlp.data.stream import (
    Streamed,
    is_sparse,
    is_streamed,
    stream,
)
from arraymlp.nn.network import Network
from arraymlp.nn.scaling import Scaling

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
    """Check the training data and bring it to the device; without X and y, MNIST and its test set.

    Args:
        X: rows (N, n_features), in memory, streamed or sparse; or chunks (X, y), without y.
        y: their targets.
        sample_weight: (N,), or (K, N) for one a member; None for weights of 1.
        settings: of the run.
        network: whose training goes on; None for a new one.
        backend: of the result.

    Raises:
        ValueError: data that cannot be trained with.
    """
    if X is None and y is None:
        if network is not None:
            raise ValueError("X and y are needed to go on training a network")
        mnist = load_mnist(dtype=settings.dtype)
        data = load_data(mnist.X_train, mnist.y_train, sample_weight, settings, None, backend)
        return add_validation(data, (mnist.X_test, mnist.y_test), settings, None, backend)
    n_features = None if network is None else network.sizes[0]
    names = None if network is None else network.features
    require_names(X, names, "X")
    rows: Array | Streamed
    inputs = None if network is None else shared_scaling(network.inputs, "features")
    learns = network is None and scales_features(settings.standardize)
    if y is None and is_chunks(X):
        rows, y = stream_chunks(X, settings.dtype, n_features=n_features)
        inputs = learn_scaling(rows, backend) if learns else inputs
        require_same_names(rows.features, names, "the chunks")
        names = names or rows.features
        rows = rows if inputs is None else rows.scaled(inputs)
    elif X is None or y is None:
        raise ValueError(f"{'X' if X is None else 'y'} is missing: give both, or neither for MNIST")
    else:
        rows, inputs = _rows(X, settings, backend, n_features, "X", inputs, learns)
        names = names or feature_names(X)

    def learn(numbers: Array | HostArray) -> Scaling:
        return learn_target_scaling(numbers, settings.standardize, backend)

    checked = targets(
        y,
        rows.shape[0],
        backend,
        settings.dtype,
        loss=settings.loss if network is None else network.loss,
        classes=None if network is None else network.classes,
        n_outputs=None if network is None else network.sizes[-1],
        scaling=None if network is None else shared_scaling(network.outputs, "targets"),
        learn=learn if network is None and scales_targets(settings.standardize) else None,
    )
    members, dtype = member_count(settings, network), settings.dtype
    y = _weighted(checked, sample_weight, members, dtype, backend, "sample_weight")
    return Data(rows, y, inputs=inputs, features=names)


def member_count(settings: DataSettings, network: Network | None) -> int | None:
    """K, the size of the population that will be trained; None for one network."""
    if network is not None:
        return network.members
    return len(settings.seed) if isinstance(settings.seed, tuple) else None


def _rows(
    X: Any,
    settings: DataSettings,
    backend: Backend,
    n_features: int | None,
    what: str,
    scaling: Scaling | None,
    learns: bool = False,
) -> tuple[Array | Streamed, Scaling | None]:
    """X on the device, or to be streamed there, standardised; and by what.

    Args:
        X: as the user gave it.
        settings: of the run.
        backend: whose device it is.
        n_features: the width that X must have; None for any.
        what: its name, for messages.
        scaling: what standardises it.
        learns: whether that is to be learnt of these rows.
    """
    if is_streamed(X) or is_sparse(X):
        read = stream(X, settings.dtype, n_features=n_features, what=what)
        scaling = learn_scaling(read, backend) if learns else scaling
        return (read if scaling is None else read.scaled(scaling)), scaling
    with backend.within_memory(TOO_LARGE):
        if learns:
            X = numeric(X, backend, what)
            require_table(X.shape, what)
            scaling = learn_scaling(X, backend)
        rows = features(
            X, backend, settings.dtype, n_features=n_features, what=what, scaling=scaling
        )
    return rows, scaling


def shared_scaling(scaling: Scaling | None, what: str) -> Scaling | None:
    """A network's scaling, to go on training with; a ValueError where members have their own."""
    if scaling is not None and scaling.members is not None:
        raise ValueError(
            f"the members of this population have scalings of their own of the {what}: train them "
            "one by one, network.member(k)"
        )
    return scaling


def _weighted(
    targets: Targets,
    sample_weight: Any,
    members: int | None,
    dtype: str,
    backend: Backend,
    what: str,
) -> Targets:
    """The targets with their samples' weights, checked: (N,), or (K, N) for one a member."""
    if sample_weight is None:
        return targets
    given, n = numeric(sample_weight, backend, what), targets.values.shape[0]
    host = given if isinstance(given, np.ndarray) else _on_host(given, dtype, backend)
    if host.shape not in ((n,), (members, n)):
        of_members = f", or ({members}, {n}) for one a member" if members else ""
        raise ValueError(f"{what} must have the shape ({n},){of_members}, not {host.shape}")
    with np.errstate(over="ignore"):
        weight = host.astype(dtype)
    bad = np.argwhere(~(np.isfinite(weight) & (weight >= 0)))
    if bad.size:
        where = ", ".join(str(i) for i in bad[0])
        raise ValueError(
            f"{what} must be finite and not negative, but {what}[{where}] is "
            f"{host[tuple(bad[0])]} as {dtype}"
        )
    return replace(targets, weight=backend.asarray(np.ascontiguousarray(weight.T), copy=True))


def _on_host(array: Array, dtype: str, backend: Backend) -> HostArray:
    return backend.to_numpy(backend.asarray(array, dtype))


def add_validation(
    data: Data,
    validation: Any,
    settings: DataSettings,
    network: Network | None,
    backend: Backend,
) -> Data:
    """The data with validation rows: a fraction held out, or (X, y) or (X, y, sample_weight).

    Raises:
        ValueError: any other ``validation``, or rows that do not go with the training data.
    """
    if is_number(validation):
        return _split(data, float(validation), settings, network, backend)
    return _with_validation(data, validation, settings, member_count(settings, network), backend)


def _split(
    data: Data,
    fraction: float,
    settings: DataSettings,
    network: Network | None,
    backend: Backend,
) -> Data:
    """The data with some of its rows held out for validation, the same fraction of each class."""
    classes = class_positions(data.y, backend)
    rows, held_out = split(data.X.shape[0], fraction, settings.order_seed, classes)
    train, validation = data.select_rows(rows, backend), data.select_rows(held_out, backend)
    whole = replace(train, X_val=validation.X, y_val=validation.y)
    return whole if network is not None else whole.rescaled(*learnt(train, settings, backend))


def learnt(
    data: Data, settings: DataSettings, backend: Backend
) -> tuple[Scaling | None, Scaling | None]:
    """What standardises features and targets further, learnt of some of the rows they come from."""
    y = data.y
    inputs = None if data.inputs is None else learn_scaling(data.X, backend)
    if y.scaling is None:
        return inputs, None
    return inputs, learn_target_scaling(y.values, settings.standardize, backend)


def _with_validation(
    data: Data, validation: Any, settings: DataSettings, members: int | None, backend: Backend
) -> Data:
    """The data with the user's validation rows, targets and weights, checked."""
    if not isinstance(validation, tuple) or len(validation) not in (2, 3):
        is_tuple = isinstance(validation, tuple)
        given = f"{len(validation)} things" if is_tuple else f"a {type(validation).__name__}"
        raise ValueError(
            "validation must be None, a fraction between 0 and 1, or a tuple (X, y) or "
            f"(X, y, sample_weight), not {given}"
        )
    X, y, sample_weight = validation if len(validation) == 3 else (*validation, None)
    what = "the validation X"
    require_names(X, data.features, what)
    rows, _ = _rows(X, settings, backend, data.X.shape[1], what, data.inputs)
    checked = targets(
        y,
        rows.shape[0],
        backend,
        settings.dtype,
        loss=data.y.loss,
        classes=data.y.classes,
        n_outputs=data.y.n_outputs,
        what="the validation y",
        scaling=data.y.scaling,
    )
    what = "the validation sample_weight"
    y_val = _weighted(checked, sample_weight, members, settings.dtype, backend, what)
    return replace(data, X_val=rows, y_val=y_val)


def require_minibatches(n: int, settings: DataSettings, *, warn: bool = True) -> None:
    """Raise a ValueError where n rows fill no minibatch; warn where rows will be left over."""
    size = settings.batch_size
    if size > n:
        raise ValueError(
            f"batch_size {size} is larger than the data: {n} training samples; give batch_size={n} "
            "or less"
        )
    if warn and settings.drop_last and n % size:
        warnings.warn(
            f"the last {n % size} of {n} samples do not fill a minibatch of {size} and are dropped",
            stacklevel=caller_level(),
        )


def columns(settings: DataSettings, data: Data) -> list[str]:
    """The names of the figures that the history will have of each epoch."""
    of_training = ["loss"] + ["penalty"] * bool(np.any(as_floats(settings.alpha)))
    of_parts = ["loss"] + ["error"] * (data.y.loss.classifies != "no")
    of_parts += [m.name for m in settings.metrics]
    parts = data.part_names(settings)
    return of_training + [f"{part}_{name}" for part in parts for name in of_parts]
