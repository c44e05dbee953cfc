"""Training and validation data, brought to the device once and never written there.

Where X is larger than memory (`arraymlp.stream`), only its targets and weights are; X comes by
windows of rows.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arraymlp._checks import each, is_number, outside
from arraymlp.backend import Array, Backend, HostArray, is_device_array
from arraymlp.batching import ROWS_AT_ONCE, blocks, split
from arraymlp.courses import Course, groups
from arraymlp.datasets import load_mnist
from arraymlp.inputs import Targets, features, numeric, targets
from arraymlp.network import MultilayerPerceptron
from arraymlp.settings import ClassWeight, Settings
from arraymlp.stream import (
    Streamed,
    is_chunks,
    is_sparse,
    is_streamed,
    stream,
    stream_chunks,
    window_rows,
)

log = logging.getLogger("arraymlp")

TOO_LARGE = (
    "X as a numpy.memmap, or as chunks (X, y), is read by window= rows at a time and need not fit."
)


@dataclass(frozen=True)
class Data:
    """Rows and targets on the device; the validation's are None where there is none.

    Attributes:
        X: training rows (N, n_features); a `Streamed` where they are larger than memory.
        y: their targets and weights.
        X_val: validation rows, likewise.
        y_val: their targets and weights.
        courses: which of the rows each member trains on, and in what order; None for all of them in
            one order for all.
    """

    X: Array | Streamed
    y: Targets
    X_val: Array | Streamed | None = None
    y_val: Targets | None = None
    courses: tuple[Course, ...] | None = None

    @property
    def rows(self) -> int:
        """How many rows an epoch trains on: of courses, the longest."""
        if self.courses is None:
            return int(self.X.shape[0])
        return max(len(course.rows) for course in self.courses)

    @property
    def validates(self) -> bool:
        """Whether there are rows to validate on."""
        if self.courses is not None and self.courses[0].held_out is not None:
            return True
        return self.X_val is not None

    def moved(self, here: Backend, there: Backend) -> "Data":
        """The same data on another backend."""
        if here == there:
            return self
        return self.changed(lambda a: there.asarray(here.to_numpy(a)))

    def changed(
        self,
        change: Callable[[Array], Array],
        streamed: Callable[[Streamed], Streamed] = lambda s: s,
    ) -> "Data":
        """The same data with every array changed alike, and what is streamed in its own way."""

        def one(a: Any) -> Any:
            if a is None:
                return None
            return streamed(a) if isinstance(a, Streamed) else change(a)

        def of(t: Targets | None) -> Any:
            if t is None:
                return None
            return replace(
                t, values=one(t.values), weight=one(t.weight), loss_weight=one(t.loss_weight)
            )

        return replace(
            self, X=one(self.X), y=of(self.y), X_val=one(self.X_val), y_val=of(self.y_val)
        )

    def taken(self, rows: HostArray, place: Backend) -> "Data":
        """These training rows alone, in ascending order, as training data."""
        numbers = place.asarray(rows)
        training = Data(self.X, self.y)
        return training.changed(lambda a: place.xp.take(a, numbers, axis=0), lambda s: s.kept(rows))

    def parts(self, settings: Settings) -> Iterator[tuple[str, Array | Streamed, Targets]]:
        """What is evaluated at an epoch's end, as (name, rows, targets)."""
        if settings.training_error:
            yield "training", self.X, self.y
        if self.X_val is not None and self.y_val is not None:
            yield "validation", self.X_val, self.y_val

    def part_names(self, settings: Settings) -> list[str]:
        """What is evaluated at an epoch's end, by name."""
        return ["training"] * settings.training_error + ["validation"] * self.validates

    def by_course(self, settings: Settings, place: Backend) -> Iterator[tuple[int, int, "Data"]]:
        """The data of neighbouring members with one course: (first, past the last, their data)."""
        assert self.courses is not None
        for course, start, stop in groups(self.courses):
            own = replace(self, y=self.y.between(start, stop), courses=None)
            kept = own.taken(course.rows, place) if settings.training_error else own
            if course.held_out is not None:
                out = own.taken(course.held_out, place)
                yield start, stop, Data(kept.X, kept.y, out.X, out.y)
            else:
                y_val = None if self.y_val is None else self.y_val.between(start, stop)
                yield start, stop, Data(kept.X, kept.y, self.X_val, y_val)

    def window(self, settings: Settings) -> int:
        """Rows that are shuffled among themselves: whole minibatches, or all rows."""
        n, size = self.X.shape[0], settings.batch_size
        free = not isinstance(self.X, Streamed) or self.X.any_order
        if settings.window is None and free:
            return int(n)
        return min(int(n), window_rows(self.X.shape[1], size, settings.dtype, settings.window))


def load_data(
    X: Any,
    y: Any,
    sample_weight: Any,
    settings: Settings,
    network: MultilayerPerceptron | None,
    place: Backend,
) -> Data:
    """Check the training data and bring it to the device; MNIST with its test set for none.

    Raises:
        ValueError: anything about the data that cannot be trained with.
    """
    if X is None and y is None:
        if network is not None:
            raise ValueError("X and y are needed to go on training a network")
        mnist = load_mnist(dtype=settings.dtype)
        data = load_data(mnist.X_train, mnist.y_train, sample_weight, settings, None, place)
        return add_validation(data, (mnist.X_test, mnist.y_test), settings, None, place)
    n_features = None if network is None else network.sizes[0]
    x: Array | Streamed
    if y is None and is_chunks(X):
        x, y = stream_chunks(X, settings.dtype, n_features=n_features)
    elif X is None or y is None:
        raise ValueError(f"{'X' if X is None else 'y'} is missing: give both, or neither for MNIST")
    else:
        x = _rows(X, settings, place, n_features, "X")
    known: dict[str, Any] = {"loss_name": settings.loss}
    if network is not None:
        known = {
            "loss_name": network.loss,
            "classes": network.classes,
            "n_outputs": network.sizes[-1],
        }
    t = targets(y, x.shape[0], place, settings.dtype, **known)
    members = member_count(settings, network)
    return Data(x, _weighted(t, sample_weight, members, settings, place, "sample_weight"))


def member_count(settings: Settings, network: MultilayerPerceptron | None) -> int | None:
    """K of the population that will be trained; None for one network."""
    if network is not None:
        return network.members
    return len(settings.seed) if isinstance(settings.seed, tuple) else None


def _rows(
    X: Any, settings: Settings, place: Backend, n_features: int | None, what: str
) -> Array | Streamed:
    if is_streamed(X) or is_sparse(X):
        return stream(X, settings.dtype, n_features=n_features, what=what)
    with place.within_memory(TOO_LARGE):
        return features(X, place, settings.dtype, n_features=n_features, what=what)


def _weighted(
    t: Targets, weight: Any, members: int | None, settings: Settings, place: Backend, what: str
) -> Targets:
    """The targets with their samples' weights, checked: (N,), or (K, N) for one a member."""
    if weight is None:
        return t
    w, n = numeric(weight, place, what), t.values.shape[0]
    w = place.to_numpy(place.asarray(w, settings.dtype)) if is_device_array(w) else w
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
    return replace(t, weight=place.asarray(np.ascontiguousarray(converted.T), copy=True))


def add_validation(
    data: Data,
    validation: Any,
    settings: Settings,
    network: MultilayerPerceptron | None,
    place: Backend,
) -> Data:
    """Hold out a fraction of the training rows, or take (X, y) or (X, y, sample_weight)."""
    if is_number(validation):
        return _split(data, float(validation), settings, place)
    return _with_validation(data, validation, settings, member_count(settings, network), place)


def class_positions(t: Targets, place: Backend) -> HostArray | None:
    """The class of each sample (N,), as its position; None where a sample has no one class."""
    if t.classes is None:
        return None
    values = place.to_numpy(t.values)
    if values.ndim == 1:
        return values
    return np.asarray(values[:, 0] > 0.5 if t.n_outputs == 1 else values.argmax(axis=1), dtype=int)


def _split(data: Data, fraction: float, settings: Settings, place: Backend) -> Data:
    """Hold some of the rows out for validation, the same fraction of each class."""
    classes = class_positions(data.y, place)
    rows, held_out = split(data.X.shape[0], fraction, settings.order_seed, classes)
    kept, out = data.taken(rows, place), data.taken(held_out, place)
    return Data(kept.X, kept.y, out.X, out.y)


def _with_validation(
    data: Data, validation: Any, settings: Settings, members: int | None, place: Backend
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
    x = _rows(X, settings, place, data.X.shape[1], "the validation X")
    t = targets(
        y,
        x.shape[0],
        place,
        settings.dtype,
        loss_name=known.loss,
        classes=known.classes,
        n_outputs=known.n_outputs,
        what="the validation y",
    )
    what = "the validation sample_weight"
    own = weight[0] if weight else None
    return replace(data, X_val=x, y_val=_weighted(t, own, members, settings, place, what))


def with_class_weights(data: Data, settings: Settings, place: Backend) -> Data:
    """The data with each sample's weight in the loss: its own, times its class's.

    "balanced" is N / (n_classes * N_c) for a class with N_c of the N training rows, as in
    scikit-learn (King, Zeng 2001). A class that a mapping leaves out has weight 1.

    Raises:
        ValueError: there are no classes, one is named that is not there, or a bad weight.
    """
    given, courses = settings.class_weight, data.courses
    if given is None:
        factors = None
    else:
        classes = class_positions(data.y, place)
        if classes is None or data.y.classes is None:
            raise ValueError(f"class_weight needs classes, but {data.y.loss.name} has none here")
        members = given if isinstance(given, tuple) else (given,) * len(courses or "1")
        several = courses is not None or isinstance(given, tuple)
        counts = [np.bincount(classes, minlength=len(data.y.classes))] * len(members)
        if courses is not None:  # "balanced" is of the rows that a member trains on
            counts = [np.bincount(classes[c.rows], minlength=len(counts[0])) for c in courses]
        own = [_factors(one, data.y.classes, n) for one, n in zip(members, counts, strict=True)]
        factors = np.stack(own, axis=-1) if several else own[0]

    def of(t: Targets | None, whose: str, rows: int | None = None) -> Any:
        if t is None or (factors is None and t.weight is None):
            return t if t is None else replace(t, loss_weight=None)
        found = t.weight
        if factors is not None:
            with np.errstate(over="ignore"):
                own = factors[class_positions(t, place)].astype(settings.dtype)  # (N,) or (N, K)
                found = place.asarray(own)
                found = found if t.weight is None else _times(found, t.weight)
        for name, w in (("sample_weight", t.weight), ("the weight by class", found)):
            if w is None:
                continue
            with np.errstate(over="ignore"):
                total = place.to_numpy(place.xp.sum(w[:rows, ...], axis=0))
            if not (total > 0).all():
                raise ValueError(f"{name} is 0 for every sample of the {whose} data")
            most = float(np.finfo(settings.dtype).max) ** 0.78  # 1e30 in float32, 1e240 in float64
            if not ((total > 1 / most) & (total < most)).all():
                raise ValueError(
                    f"{name} adds up to {total.max():g} over the {whose} data, which leaves no "
                    f"room in {settings.dtype} for losses: weigh by numbers nearer to 1"
                )
        return replace(t, loss_weight=found)

    if courses is not None:
        _require_weight(data, courses, place)
    n, cut = data.X.shape[0], settings.drop_last and not settings.shuffle
    trained_on = n - n % settings.batch_size if cut else n
    y, y_val = of(data.y, "training", trained_on), of(data.y_val, "validation")
    return replace(data, y=y, y_val=y_val)


def _require_weight(data: Data, courses: tuple[Course, ...], place: Backend) -> None:
    """A ValueError where none of the rows of a member, or of those held out, has a weight."""
    if data.y.weight is not None:
        weight = place.to_numpy(data.y.weight)
        for course, _, _ in groups(courses):
            parts = (course.rows, course.held_out)
            if any(rows is not None and not weight[rows].any() for rows in parts):
                raise ValueError("sample_weight is 0 for every sample of a fold")


def _times(a: Array, b: Array) -> Array:
    """The product of two weights, each (N,) or (N, K)."""
    both = max(a.ndim, b.ndim)
    a, b = (w[:, None] if w.ndim < both else w for w in (a, b))
    return a * b


def _factors(given: ClassWeight, classes: HostArray, counts: HostArray) -> HostArray:
    """One member's weight of each class (n_classes,)."""
    if given is None:
        return np.ones(len(classes))
    if isinstance(given, str):
        if given != "balanced":
            raise ValueError(f'class_weight must be "balanced" or a mapping, not {given!r}')
        return np.asarray(counts.sum() / (len(classes) * np.maximum(counts, 1)))
    if not isinstance(given, Mapping):
        raise ValueError(f'class_weight must be "balanced" or a mapping, not {given!r}')
    labels = classes.tolist()
    for label, weight in given.items():
        if label not in labels:
            raise ValueError(f"class_weight names class {label!r}, but y has {labels[:20]}")
        if not is_number(weight) or not 0 <= weight < float("inf"):
            raise ValueError(
                f"class_weight must be finite and not negative, but class {label!r} has {weight!r}"
            )
    found = np.asarray([given.get(label, 1.0) for label in labels], dtype=float)
    if not (found * counts).any():
        raise ValueError("class_weight is 0 for every class")
    return found


def require_minibatches(n: int, settings: Settings) -> None:
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
            stacklevel=outside(),
        )


def columns(settings: Settings, data: Data) -> list[str]:
    """The figures that the history will have of each epoch."""
    kinds = ["loss"] + ["error"] * (data.y.loss.classifies != "no")
    kinds += [m.name for m in settings.metrics]
    met = ["loss"] + ["penalty"] * bool(np.any(each(settings.alpha)))
    return met + [f"{part}_{kind}" for part in data.part_names(settings) for kind in kinds]


def row_blocks(
    X: Array | Streamed, network: MultilayerPerceptron, window: int | None = None
) -> Iterator[tuple[slice, Array]]:
    """All rows of X, as many at a time as go through a network together.

    Rows larger than memory are read by ``window``, or by as many as fill 64 MiB.

    Yields:
        Where they stand, and the rows on the network's device.
    """
    place, at_once = network.backend, network.rows_at_once
    if not isinstance(X, Streamed):
        for rows in blocks(X.shape[0], at_once):
            yield rows, X[rows, :]
        return
    start = 0
    if X.any_order:
        yield from X.dense_blocks(place, at_once)
        return
    size = window_rows(X.shape[1], ROWS_AT_ONCE, "float64", window)
    with closing(X.windows(place, size)) as windows:
        for some in windows:
            for rows in blocks(some.shape[0], at_once):
                yield slice(start + rows.start, start + rows.stop), some[rows, :]
            start += some.shape[0]


def take_rows(X: Array | Streamed, rows: HostArray, place: Backend) -> Array:
    """Some rows of X, in ascending order, together on the device."""
    if isinstance(X, Streamed):
        return X.take(rows, place)
    return place.xp.take(X, place.asarray(rows), axis=0)
