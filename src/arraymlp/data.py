"""Training and validation data, brought to the device once and never written there."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from arraymlp._checks import is_number, outside
from arraymlp.backend import Array, Backend
from arraymlp.batching import split
from arraymlp.datasets import load_mnist
from arraymlp.inputs import Targets, features, targets
from arraymlp.network import MultilayerPerceptron
from arraymlp.settings import Settings


@dataclass(frozen=True)
class Data:
    """Rows and targets on the device; the validation's are None where there is none.

    Attributes:
        X: training rows (N, n_features).
        y: their targets.
        X_val: validation rows.
        y_val: their targets.
    """

    X: Array
    y: Targets
    X_val: Array | None = None
    y_val: Targets | None = None

    def moved(self, here: Backend, there: Backend) -> "Data":
        """The same data on another backend."""
        if here == there:
            return self
        return self.changed(lambda a: there.asarray(here.to_numpy(a)))

    def changed(self, change: Callable[[Array], Array]) -> "Data":
        """The same data with every array changed alike."""

        def of(t: Targets) -> Targets:
            return replace(t, values=change(t.values))

        if self.X_val is None or self.y_val is None:
            return Data(change(self.X), of(self.y))
        return Data(change(self.X), of(self.y), change(self.X_val), of(self.y_val))


def load_data(
    X: Any, y: Any, settings: Settings, network: MultilayerPerceptron | None, place: Backend
) -> Data:
    """Check the training data and bring it to the device; MNIST with its test set for none.

    Raises:
        ValueError: anything about the data that cannot be trained with.
    """
    if X is None and y is None:
        if network is not None:
            raise ValueError("X and y are needed to go on training a network")
        mnist = load_mnist(dtype=settings.dtype)
        data = load_data(mnist.X_train, mnist.y_train, settings, None, place)
        return add_validation(data, (mnist.X_test, mnist.y_test), settings, place)
    if X is None or y is None:
        raise ValueError(f"{'X' if X is None else 'y'} is missing: give both, or neither for MNIST")
    n_features = None if network is None else network.sizes[0]
    x = features(X, place, settings.dtype, n_features=n_features)
    known: dict[str, Any] = {"loss_name": settings.loss}
    if network is not None:
        known = {
            "loss_name": network.loss,
            "classes": network.classes,
            "n_outputs": network.sizes[-1],
        }
    return Data(x, targets(y, x.shape[0], place, settings.dtype, **known))


def add_validation(data: Data, validation: Any, settings: Settings, place: Backend) -> Data:
    """Hold out a fraction of the training rows, or take (X, y), for validation."""
    if is_number(validation):
        return _split(data, float(validation), settings, place)
    return _with_validation(data, validation, settings, place)


def _split(data: Data, fraction: float, settings: Settings, place: Backend) -> Data:
    """Hold some of the rows out for validation."""
    rows, held_out = (
        place.asarray(rows) for rows in split(data.X.shape[0], fraction, settings.order_seed)
    )
    take = place.xp.take
    training = Data(data.X, data.y)
    kept = training.changed(lambda a: take(a, rows, axis=0))
    out = training.changed(lambda a: take(a, held_out, axis=0))
    return Data(kept.X, kept.y, out.X, out.y)


def _with_validation(data: Data, validation: Any, settings: Settings, place: Backend) -> Data:
    if not isinstance(validation, tuple) or len(validation) != 2:
        several = isinstance(validation, tuple)
        found = f"{len(validation)} things" if several else f"a {type(validation).__name__}"
        raise ValueError(
            f"validation must be None, a fraction between 0 and 1, or a tuple (X, y), not {found}"
        )
    X, y = validation
    y_known = data.y
    x = features(X, place, settings.dtype, n_features=data.X.shape[1], what="the validation X")
    t = targets(
        y,
        x.shape[0],
        place,
        settings.dtype,
        loss_name=y_known.loss,
        classes=y_known.classes,
        n_outputs=y_known.n_outputs,
        what="the validation y",
    )
    return replace(data, X_val=x, y_val=t)


def require_minibatches(n: int, settings: Settings) -> None:
    """Refuse a minibatch that n rows cannot fill; warn of rows that will be left over."""
    size = settings.batch_size
    if size > n:
        raise ValueError(f"batch_size {size} is larger than the data: {n} training samples")
    if settings.drop_last and n % size:
        warnings.warn(
            f"the last {n % size} of {n} samples do not fill a minibatch of {size} and are dropped",
            stacklevel=outside(),
        )
