"""`MultilayerPerceptron`: a network that takes the user's data and gives predictions."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraymlp.backends.array import Array, Namespace, is_device_array
from arraymlp.data.blocks import ROWS_AT_ONCE, blocks, rows_at_once
from arraymlp.data.elsewhere.given import plain
from arraymlp.data.encoded_rows import EncodedRows
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.files.large_table import LargeTable
from arraymlp.data.inputs import features
from arraymlp.data.names import require_names
from arraymlp.data.sources import is_sparse
from arraymlp.data.stream import Streamed, is_streamed, stream, window_rows
from arraymlp.data.table_input import table_of, true_targets
from arraymlp.html.view import shown
from arraymlp.nn.network import Network
from arraymlp.nn.scaling import undone
from arraymlp.training.engine import forward_of
from arraymlp.training.scores.scores import Scores, evaluation_of
from arraymlp.training.with_page import WithPage

ENCODED = 8 * ROWS_AT_ONCE  # rows of a table that a thread encodes before they go through it


@dataclass(repr=False)
class MultilayerPerceptron(WithPage, Network):
    """Layers in order and a loss: one network, or a population of K with a leading axis.

    It predicts from data on the host or on its device; one that was trained on a table, from tables
    with the same columns, in any order and beside others. Predictions are arrays of X's own
    library: NumPy's where X is on the host. In shapes, (...) is (K,) for a population, and () for
    one network.

    Attributes:
        layers: first to last. The last one's activation is the identity: its outputs are logits.
        loss: the loss, and with it the meaning of the logits.
        classes: the label that each output stands for, ascending (the two labels of a single
            output); None for regression and multi-label.
    """

    def logits(self, X: Any) -> Any:
        """The last layer's weighted sums (..., N, n_outputs) for X (N, n_inputs).

        For regression they are in the targets' own units.

        Host data goes to the network's device and the result comes back; a device array must be
        on the network's device, and the result stays there.

        Raises:
            ValueError: X is not 2-D, numeric, finite, of the right width, or on another device; or
                its columns have other names, or another order, than those trained on; or the
                table lacks a column, or has values in it of another kind.
        """
        return self._apply(X, lambda s, xp: undone(self.outputs, s))

    def predict_proba(self, X: Any) -> Any:
        """Probability of each class (..., N, n_classes); of each column for multi-label.

        Raises:
            ValueError: the network was trained for regression, or as in `logits`.
        """
        if self.loss.classifies == "no":
            raise ValueError(f"a network trained on {self.loss.name} predicts no probabilities")

        def probabilities(s: Array, xp: Namespace) -> Array:
            p = self.loss.output(s, xp)
            if self.classes is not None and self.loss.classifies == "each":
                p = xp.concat([1 - p, p], axis=-1)
            return p

        return self._apply(X, probabilities)

    def predict(self, X: Any) -> Any:
        """The most probable label of each sample (..., N); columns of 0 and 1 for multi-label.

        For regression the outputs themselves, (..., N), or (..., N, T) for T > 1 targets: with
        poisson the rates e^s, with several quantiles an ascending last axis more, (..., N, Q) or
        (..., N, T, Q).

        Raises:
            ValueError: as in `logits`.
        """
        if self.loss.classifies == "no":
            return self._apply(X, self.numbers)
        chosen = self._apply(X, self.choices)
        if self.classes is None:
            return chosen
        if isinstance(chosen, np.ndarray):
            return np.asarray(self.classes[chosen])
        backend = self.backend
        with backend.active():
            known = self.device_classes()
            flat = backend.xp.take(known, backend.xp.reshape(chosen, (-1,)), axis=0)
            return backend.xp.reshape(flat, chosen.shape)

    def evaluate(self, X: Any, y: Any = None) -> Scores:
        """How good the predictions for X are; of a population, of the mean of its members.

        >>> print(network.evaluate(X_test, y_test))

        Args:
            X: as for `predict`.
            y: the true targets; or the name of their column in the table X. None for the column
                that the network was trained to predict.

        Returns:
            An object with the figures as attributes, which prints as a table: of classes accuracy,
            balanced accuracy, log loss, ROC AUC, the confusion matrix, and precision, recall and F1
            of each; of numbers RMSE, MAE and R2. See `arraymlp.training.scores`.

        Raises:
            ValueError: as of `predict`; or y does not go with X, or has labels that the network
                does not know.
        """
        return evaluation_of(self, X, true_targets(X, y, self.targets))

    def _repr_html_(self) -> str | None:
        """Layers, features and classes, as notebooks show them."""
        from arraymlp.training.views.network import network_view

        return shown(lambda: network_view(self))

    def device_classes(self) -> Array:
        """The classes on the device, in its widest integers: JAX without x64 has int32 alone.

        Raises:
            ValueError: there is a label that these cannot hold.
        """
        backend, classes = self.backend, self.classes
        assert classes is not None
        if classes.dtype.kind == "U":
            raise ValueError(
                f"labels such as {str(classes[0])!r} are no numbers of {backend}: pass NumPy "
                "arrays to get them, or take predict_proba"
            )
        wide = backend.has("int64")
        if not wide and classes[-1] >= 2**31:
            raise ValueError(
                f"labels such as {classes[-1]} do not fit the integers of {backend}: pass host "
                "(NumPy) data to get them on the host"
            )
        return backend.asarray(classes.astype("int64" if wide else "int32"))

    def _apply(self, X: Any, output: Callable[[Array, Namespace], Array]) -> Any:
        """Rows in, rows out; a table's rows are made features, some at a time."""
        encoding = self.encoding
        if encoding is None:
            X = plain(X)
            require_names(X, self.features, "X")
            return self._apply_to_features(X, output)
        if isinstance(encoding, tuple):
            raise ValueError(
                "the members of this population have encodings of their own: take "
                "network.member(k), or an Ensemble of them"
            )
        table = table_of(X)
        if isinstance(table, LargeTable):
            assert isinstance(encoding, TableEncoding)
            encoding.require_columns(table.names)
            return self._apply_to_features(EncodedRows(table, encoding, self.dtype), output)

        def of_rows(rows: slice) -> Any:
            return self._apply_to_features(encoding.transform(table[rows], self.dtype), output)

        with self.backend.within_memory("Fewer rows at a time need less."):
            parts = self.backend.in_threads(of_rows, blocks(max(len(table), 1), ENCODED))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=self._row_axis)

    @property
    def _row_axis(self) -> int:
        return 0 if self.members is None else 1

    def _apply_to_features(self, X: Any, output: Callable[[Array, Namespace], Array]) -> Any:
        """As `_apply`, some rows at a time: the hidden layers' values stay small."""
        backend, at_once = self.backend, rows_at_once(self)
        xp = backend.xp
        on_host = not is_device_array(X)
        with backend.within_memory("Fewer rows at a time need less."):
            shared, own = (None, None) if self.inputs is None else self.inputs.shared()

            forward = forward_of(self)

            def outputs(x: Array) -> Array:
                x = x if own is None else own.apply(x)
                return output(forward(x), xp)

            with np.errstate(all="ignore"):  # a probability that rounds to 0 underflows
                if is_sparse(X):
                    sparse = stream(X, self.dtype, n_features=self.sizes[0])
                    sparse = sparse if shared is None else sparse.scaled(shared)
                    parts = [outputs(x) for _, x in sparse.dense_blocks(backend, at_once)]
                elif is_streamed(X):
                    rows = stream(X, self.dtype, n_features=self.sizes[0])
                    rows = rows if shared is None else rows.scaled(shared)
                    parts = self._windows_apply(rows, outputs)
                else:
                    n = self.sizes[0]
                    x = features(X, backend, self.dtype, n_features=n, scaling=shared)
                    inputs = [x[rows, :] for rows in blocks(x.shape[0], at_once)]
                    parts = backend.in_threads(outputs, inputs)
                result = parts[0] if len(parts) == 1 else xp.concat(parts, axis=self._row_axis)
        if not on_host:
            return result
        host = backend.to_numpy(result)
        return host if host.flags.writeable else host.copy()  # JAX's are read-only

    def _windows_apply(self, rows: Streamed, outputs: Callable[[Array], Array]) -> list[Array]:
        """Outputs of rows that are read window by window, each window's blocks shared out."""
        backend, at_once = self.backend, rows_at_once(self)
        size = window_rows(rows.shape[1], at_once, "float64", None)
        parts: list[Array] = []
        with closing(rows.windows(backend, size)) as windows:
            for x in windows:
                inputs = [x[block, :] for block in blocks(x.shape[0], at_once)]
                parts += backend.in_threads(outputs, inputs)
        return parts
