"""Loads the user's rows, targets, weights and validation data as `Data` on the device."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from arraymlp._checks import as_floats, caller_level, is_number
from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.chunks import is_chunks, stream_chunks
from arraymlp.data.data import Data, DataSettings, class_positions
from arraymlp.data.datasets import load_mnist
from arraymlp.data.elsewhere.given import plain
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.inputs import features, numeric, table
from arraymlp.data.names import feature_names, require_names, require_same_names
from arraymlp.data.sources import is_sparse
from arraymlp.data.splits import split
from arraymlp.data.standardize import (
    learn_scaling,
    learn_target_scaling,
    scales_features,
    scales_targets,
)
from arraymlp.data.stream import Streamed, is_streamed, stream
from arraymlp.data.table_input import TableInput, encoded
from arraymlp.data.targets import Targets, targets
from arraymlp.nn.network import Network
from arraymlp.nn.scaling import Scaling, stacked


class Own(NamedTuple):
    """What a network that trains on some of the rows has learnt of these alone.

    Attributes:
        inputs: standardises the features further; None for nothing.
        outputs: likewise the targets.
        encoding: made its copy of the rows, where these are of a table.
    """

    inputs: Scaling | None = None
    outputs: Scaling | None = None
    encoding: TableEncoding | None = None


# Of n rows and their classes (None where a sample has no one class), the rows that each network
# trains on: standardisation is learnt of these.
RowSets: TypeAlias = Callable[[int, HostArray | None], Sequence[HostArray]]

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
    validation: Any = None,
) -> Data:
    """Check the training data and bring it to the device; without X and y, MNIST and its test set.

    Args:
        X: rows (N, n_features), in memory, streamed or sparse; or chunks (X, y), without y; or a
            table, to be encoded.
        y: their targets.
        sample_weight: (N,), or (K, N) for one a member; None for weights of 1.
        settings: of the run.
        network: whose training goes on; None for a new one.
        backend: of the result.
        validation: as for `add_validation`, which is called with it next: of rows that a fraction
            holds out, nothing is learnt.

    Raises:
        ValueError: data that cannot be trained with.
    """

    def trained_on(n: int, classes: HostArray | None) -> list[HostArray]:
        return [split(n, float(validation), settings.order_seed, classes)[0]]

    row_sets = trained_on if is_number(validation) else None
    return load_row_sets(X, y, sample_weight, settings, network, backend, row_sets)[0]


def load_row_sets(
    X: Any,
    y: Any,
    sample_weight: Any,
    settings: DataSettings,
    network: Network | None,
    backend: Backend,
    row_sets: RowSets | None,
) -> tuple[Data, list[Own]]:
    """As `load_data`, for networks that train on some of the rows each.

    Returns:
        The data, standardised by what suits the rows of all (see `Scaling.shared`), and what each
        network's rows have of their own.
    """
    if X is None and y is None:
        if network is not None:
            raise ValueError("X and y are needed to go on training a network")
        mnist = load_mnist(dtype=settings.dtype)
        data, further = load_row_sets(
            mnist.X_train, mnist.y_train, sample_weight, settings, None, backend, row_sets
        )
        test = (mnist.X_test, mnist.y_test)
        return add_validation(data, test, settings, None, backend), further
    n_features = None if network is None else network.sizes[0]
    names = None if network is None else network.features
    is_table = isinstance(X, TableInput)
    target_names = X.targets if is_table else None
    if not is_table:
        require_names(X, names, "X")
    if y is None and is_chunks(X):
        rows, y = stream_chunks(X, settings.dtype, n_features=n_features)
        require_same_names(rows.features, names, "the chunks")
        names = names or rows.features
        X = rows
    elif X is None or y is None:
        raise ValueError(f"{'X' if X is None else 'y'} is missing: give both, or neither for MNIST")
    elif not is_table:
        names = names or feature_names(X)
        X = _opened(X, settings, backend, n_features, "X")
    n = len(X) if is_table else int(X.shape[0])
    outputs: list[Scaling] = []

    def learn(numbers: Array | HostArray) -> Scaling:
        outputs.extend(
            learn_target_scaling(numbers, settings.standardize, backend, rows)
            for rows in (row_sets or _all_rows)(n, None)
        )
        return _shared(outputs)

    checked = targets(
        y,
        n,
        backend,
        settings.dtype,
        loss=settings.loss if network is None else network.loss,
        classes=None if network is None else network.classes,
        n_outputs=None if network is None else network.sizes[-1],
        scaling=None if network is None else shared_scaling(network.outputs, "targets"),
        learn=learn if network is None and scales_targets(settings.standardize) else None,
    )
    inputs: list[Scaling] = []
    encodings: list[TableEncoding] = []
    scaling = None if network is None else shared_scaling(network.inputs, "features")
    if is_table:
        encodings = X.learn((row_sets or _all_rows)(n, class_positions(checked, backend)))
        made = X.features(encodings, settings.dtype)
        names = tuple(encodings[0].feature_names_out())
        X = _opened(made, settings, backend, n_features, "X")
    elif network is None and scales_features(settings.standardize):
        inputs = [
            learn_scaling(X, backend, rows)
            for rows in (row_sets or _all_rows)(n, class_positions(checked, backend))
        ]
        scaling = _shared(inputs)
    members, dtype = member_count(settings, network), settings.dtype
    y = _weighted(checked, sample_weight, members, dtype, backend, "sample_weight")
    copies = max(len(encodings), 1)
    data = Data(
        _brought(X, settings, backend, "X", scaling),
        y.map(lambda a: backend.xp.concat([a] * copies)) if copies > 1 else y,
        inputs=scaling,
        features=names,
        targets=target_names or (None if network is None else network.targets),
        encoding=encodings[0] if copies == len(encodings) == 1 else None,
        copies=copies,
    )
    own = [
        Own(_after(own_inputs, scaling), _after(own_outputs, checked.scaling), encoding)
        for own_inputs, own_outputs, encoding in zip_longest(
            inputs, outputs, encodings if copies > 1 else []
        )
    ]
    return data, own


def _all_rows(n: int, classes: HostArray | None) -> Sequence[None]:
    return [None]


def _shared(scalings: Sequence[Scaling]) -> Scaling:
    together = stacked(scalings)
    assert together is not None
    return together.shared()[0]


def _after(own: Scaling | None, base: Scaling | None) -> Scaling | None:
    return own if own is None or base is None else own.after(base)


def member_count(settings: DataSettings, network: Network | None) -> int | None:
    """K, the size of the population that will be trained; None for one network."""
    if network is not None:
        return network.members
    return len(settings.seed) if isinstance(settings.seed, tuple) else None


def _opened(
    X: Any, settings: DataSettings, backend: Backend, n_features: int | None, what: str
) -> Array | HostArray | Streamed:
    """X as numbers (N, n_features) of the dtype they have, or to be streamed; nothing is copied.

    Args:
        X: as the user gave it, but for a table that lies elsewhere.
        settings: of the run.
        backend: whose device it may be on.
        n_features: the width that it must have; None for any.
        what: its name, for messages.
    """
    if is_streamed(X) or is_sparse(X):
        return stream(X, settings.dtype, n_features=n_features, what=what)
    return table(X, backend, what, n_features)


def _brought(
    X: Array | HostArray | Streamed,
    settings: DataSettings,
    backend: Backend,
    what: str,
    scaling: Scaling | None,
) -> Array | Streamed:
    """X on the device, or to be streamed there, standardised."""
    if isinstance(X, Streamed):
        return X if scaling is None else X.scaled(scaling)
    with backend.within_memory(TOO_LARGE):
        return features(X, backend, settings.dtype, what=what, scaling=scaling)


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
    """The data with validation rows: (X, y) or (X, y, sample_weight), or a fraction held out.

    Of each class the same fraction is held out.

    Raises:
        ValueError: any other ``validation``, or rows that do not go with the training data.
    """
    if is_number(validation):
        classes = class_positions(data.y, backend)
        rows, held_out = split(
            int(data.X.shape[0]), float(validation), settings.order_seed, classes
        )
        train, other = data.select_rows(rows, backend), data.select_rows(held_out, backend)
        return replace(train, X_val=other.X, y_val=other.y)
    return _with_validation(data, validation, settings, member_count(settings, network), backend)


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
    if data.encoding is not None:
        X, y = encoded(X, y, data.encoding, settings.dtype)
    else:
        X = plain(X)
        require_names(X, data.features, what)
    X = _opened(X, settings, backend, data.X.shape[1], what)
    rows = _brought(X, settings, backend, what, data.inputs)
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
