"""What a sweep trains on: the rows of a table, or MNIST; and which of its networks are kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arraymlp.app.tables.encoder_options import learn, names_of
from arraymlp.app.tables.source import read_source
from arraymlp.backends.array import HostArray
from arraymlp.data.datasets import MNIST, load_mnist
from arraymlp.data.encoding.encoder import TableEncoder
from arraymlp.data.files.table_files import open_table
from arraymlp.data.files.table_rows import TableRows
from arraymlp.data.frames.frame import Frame
from arraymlp.sweeps.result import SweepResult
from arraymlp.training.ensemble import Ensemble
from arraymlp.training.model import MultilayerPerceptron

ENSEMBLE = 5  # the best networks whose mean prediction is tried on MNIST's test set


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows to train on.

    Attributes:
        X: (n, n_features), or a table with its targets.
        y: (n,) targets, or the names of their columns.
        text: what they are.
        code: the same as positional arguments of a call.
        encoder: makes features of the table's columns.
        left_out: the columns of which it makes none, in lines.
        classes: names of the classes, where they are not their numbers.
        settings: the loss of the targets, unless another is given.
        mnist: MNIST with its test set; None for a table.
    """

    X: HostArray | Frame | TableRows
    y: Any
    text: str
    code: str = ""
    encoder: TableEncoder | None = None
    left_out: Sequence[str] = ()
    classes: Sequence[str] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    mnist: MNIST | None = None


def mnist_rows(target: str | None) -> Rows:
    """MNIST's training images; a ValueError where a column of them is to be the target."""
    if target is not None:
        raise ValueError("--target is the column of a data file; MNIST has one target only")
    mnist = load_mnist()
    text = f"MNIST, {len(mnist.y_train)} training images"
    return Rows(mnist.X_train, mnist.y_train, text, mnist=mnist)


def table_rows(
    data: str,
    target: str | None,
    classifies: bool | None,
    ignore: str | None,
    encoder_for: Callable[[Frame], TableEncoder],
) -> Rows:
    """The rows of a data file.

    Args:
        data: the file.
        target: the column to be predicted; None for the last.
        classifies: whether it is of classes; None for what it seems to be.
        ignore: columns to leave out.
        encoder_for: gives the encoder of a table.

    Raises:
        ValueError: a file or column that cannot be used.
        OSError: the file cannot be read.
    """
    with open_table(data) as file:
        source = read_source(file, target, classifies, names_of(ignore))
    if not source.in_memory:
        raise ValueError(f"{data} is too large to be swept: arraymlp train takes it")
    table = source.sample(np.arange(len(source)))
    encoder = encoder_for(table)
    learnt = learn(encoder, table)
    names = source.target.names
    default = repr(encoder) == repr(TableEncoder())
    quoted = f"{names[0]!r}" if len(names) == 1 else repr(list(names))
    code = f"df, {quoted}" + ("" if default else f", encode=arraymlp.{encoder!r}")
    classes = source.target.classes
    X, y = source.data(learnt.encoding.names)
    return Rows(
        X,
        y,
        f"{source.name}: {source.describe()}; target {source.target.describe()}",
        code,
        encoder,
        [f"left out: {reason}" for reason in learnt.reasons()],
        None if classes is None or classes.dtype.kind != "U" else classes.tolist(),
        {"loss": source.target.loss},
    )


def mnist_errors(result: SweepResult, mnist: MNIST) -> list[str]:
    """A line on the errors on MNIST's test set, which has no part in the ranking."""
    ranked = [m for m in result.members if m.counts]
    if not ranked or ranked[0].network.classes is None:
        return []

    def error(predictor: MultilayerPerceptron | Ensemble) -> str:
        wrong = predictor.predict(mnist.X_test) != mnist.y_test
        return f"{100 * float(np.mean(wrong)):.2f} %"

    text = f"test error, which the ranking never saw: best network {error(result.best.network)}"
    n = min(ENSEMBLE, len(ranked))
    if n > 1:
        text += f", ensemble of the best {n} {error(result.ensemble(n))}"
    return [text]


def best_alike(result: SweepResult, n: int) -> list[MultilayerPerceptron]:
    """The best network, and after it the best of those that can be stacked with it, n in all.

    These have its sizes, activations, dtype and kind of loss. There may be fewer.
    """
    sign = -1 if result.greater_is_better else 1
    ranked = sorted((m for m in result if m.counts), key=lambda m: sign * (m.score or 0.0))
    best = _shape(ranked[0].network)
    return [m.network for m in ranked if _shape(m.network) == best][:n]


def _shape(network: MultilayerPerceptron) -> tuple[object, ...]:
    functions = tuple(layer.activation for layer in network.layers)
    scales = network.inputs is None, network.outputs is None
    return network.sizes, functions, network.dtype, type(network.loss), *scales
