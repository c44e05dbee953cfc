"""The settings that `sweep` takes: those of `train`, one value each or several to sweep over."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, TypedDict, TypeVar

from arraymlp.backends.array import HostArray
from arraymlp.data.data import ClassWeight
from arraymlp.nn.activations import Activation
from arraymlp.nn.dropout import Dropout
from arraymlp.nn.initializers import Initializer
from arraymlp.nn.losses import Loss
from arraymlp.nn.metrics import Metric
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.schedules import Schedule
from arraymlp.sweeps.space import Distribution
from arraymlp.training.early_stopping import EarlyStopping

T = TypeVar("T")

# A list, a range, a host array or a distribution is swept; anything else is one value.
Swept: TypeAlias = T | Sequence[T] | HostArray | Distribution


class SweptSettings(TypedDict, total=False):
    """The settings of `train` by name, each as `train` documents it or several of these."""

    hidden: Swept[tuple[int, ...]]
    activation: Swept[str | Activation | tuple[str | Activation, ...]]
    loss: Swept[str | Loss]
    initializer: Swept[str | Initializer]
    optimizer: Swept[str | Optimizer]
    learning_rate: Swept[float | None]
    schedule: Swept[str | Schedule]
    weight_decay: Swept[float | None]
    l2: Swept[float]
    alpha: Swept[float]
    gradient_clip: Swept[float]
    weight_average: Swept[float]
    dropout: Swept[float | Dropout]
    label_smoothing: Swept[float]
    class_weight: Swept[ClassWeight]
    epochs: Swept[int]
    total_epochs: Swept[int | None]
    batch_size: Swept[int]
    early_stopping: Swept[bool | str | EarlyStopping]
    standardize: Swept[bool | Literal["features", "targets"]]
    metrics: str | Metric | Sequence[str | Metric | Callable[..., object]]  # never swept
    reduction: Swept[Literal["mean", "sum"]]
    shuffle: Swept[bool | Callable[[int, int], HostArray]]
    window: Swept[int | None]
    drop_last: Swept[bool]
    seed: Swept[int]
    order_seed: Swept[int]
    dtype: Swept[Literal["float32", "float64"]]
    precision: Swept[Literal["float32", "tf32", "bf16"]]
    training_error: Swept[bool]
    probes: Swept[bool]
    snapshots: Swept[int]
    shards: Swept[int | None]
    engine: Swept[Literal["auto", "array"]]
