"""Training and validation data, brought to the device once and never written there."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

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
        return self._changed(lambda a: there.asarray(here.to_numpy(a)))

    def _changed(self, change: Callable[[Array], Array]) -> "Data":
        def of(t: Targets) -> Targets:
            return replace(t, values=change(t.values))

        if self.X_val is None or self.y_val is None:
            return Data(change(self.X), of(self.y))
        return Data(change(self.X), of(self.y), change(self.X_val), of(self.y_val))


def load_data(
    X: Any,
    y: Any,
    validation: float | tuple[Any, Any] | None,
    settings: Settings,
    network: MultilayerPerceptron | None,
    place: Backend,
) -> Data:
    """Check what `train` was given and bring it to the device; see there for the arguments.

    Raises:
        ValueError: anything about the data that cannot be trained with.
    """
    if X is None and y is None:
        if network is not None:
            raise ValueError("X and y are needed to go on training a network")
        mnist = load_mnist(dtype=settings.dtype)
        X, y = mnist.X_train, mnist.y_train
        validation = (mnist.X_test, mnist.y_test) if validation is None else validation
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
    data = Data(x, targets(y, x.shape[0], place, settings.dtype, **known))
    if isinstance(validation, float):
        data = _split(data, validation, settings, place)
    elif validation is not None:
        data = _with_validation(data, validation, settings, place)
    _require_minibatches(data.X.shape[0], settings)
    return data


def _split(data: Data, fraction: float, settings: Settings, place: Backend) -> Data:
    """Hold some of the rows out for validation."""
    rows, held_out = (
        place.asarray(rows) for rows in split(data.X.shape[0], fraction, settings.order_seed)
    )
    take = place.xp.take
    kept = data._changed(lambda a: take(a, rows, axis=0))
    out = data._changed(lambda a: take(a, held_out, axis=0))
    return Data(kept.X, kept.y, out.X, out.y)


def _with_validation(data: Data, validation: Any, settings: Settings, place: Backend) -> Data:
    if not isinstance(validation, tuple) or len(validation) != 2:
        raise ValueError(
            "validation must be None, a fraction between 0 and 1, or a tuple (X, y), not "
            + (f"{len(validation)} things" if isinstance(validation, tuple) else repr(validation))
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


def _require_minibatches(n: int, settings: Settings) -> None:
    size = settings.batch_size
    if size > n:
        raise ValueError(f"batch_size {size} is larger than the data: {n} training samples")
    if settings.drop_last and n % size:
        warnings.warn(
            f"the last {n % size} of {n} samples do not fill a minibatch of {size} and are dropped",
            stacklevel=4,  # whoever called train()
        )
