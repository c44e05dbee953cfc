"""Every reader on damaged files: what it did, in how much time and memory.

What may come of a file: its reader's own error; the same content, where a SHA-256 holds it; valid
content, where the SHA-256 was made right; or, in formats without one, what the library that knows
the format best reads there. Anything else raises, and is a fault.
"""

import gzip
import io
import json
import os
import time
import zipfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

import arraymlp
from arraymlp import MLPClassifier, MLPRegressor, ModelFileError, SweepResult
from arraymlp.data import tables
from arraymlp.data.datasets.idx import IDXError, read_idx
from arraymlp.losses import Quantile
from model_files import apart, sealed
from mutations import change_model, damage

REFUSED, SAME, VALID, AS_READ = "own error", "same content", "valid", "as read elsewhere"
SECONDS, MEGABYTES = 1.0, 100.0  # of the processor's time, and above the file, that one may take


class Format(NamedTuple):
    """Files of a kind, and their reader.

    Attributes:
        suffix: of a file's name.
        originals: good files.
        change: makes a damaged one of an original's content and the originals'.
        read: the reader.
        refusal: its own error, whose message begins with the file's path.
        judge: of what was read, the file and its content, says what it is, or raises.
    """

    suffix: str
    originals: list[bytes]
    change: Callable[[bytes, list[bytes], Random], bytes]
    read: Callable[[Path], Any]
    refusal: type[Exception]
    judge: Callable[[Any, Path], str]


class Outcome(NamedTuple):
    """What came of a file: in a word; seconds of the processor; megabytes above the file."""

    outcome: str
    seconds: float
    megabytes: float


def damaged(form: Format, random: Random) -> bytes:
    """A damaged file's content."""
    return form.change(random.choice(form.originals), form.originals, random)


def tried(form: Format, content: bytes, file: Path, *, limited: bool = True) -> Outcome:
    """What comes of a file with such content, written to a path.

    An AssertionError for a fault, and for what takes too long or too much, where that is limited.
    """
    file.unlink(missing_ok=True)  # ext4 waits for the disk where a file is written over
    file.write_bytes(content)
    _reset_peak()
    before, begun = _memory("VmRSS"), time.process_time()
    try:
        read, error = form.read(file), None
    except form.refusal as refused:
        error = refused
    seconds = time.process_time() - begun
    megabytes = (_memory("VmHWM") - before - len(content)) / 2**20
    if error is None:
        outcome = form.judge(read, file)
    else:
        assert str(error).startswith(f"{file}: "), f"a message without the file: {error}"
        outcome = REFUSED
    assert not limited or seconds < SECONDS, f"{seconds} s"
    assert not limited or megabytes < MEGABYTES, f"{megabytes} MB"
    return Outcome(outcome, seconds, megabytes)


def _reset_peak() -> None:
    if os.path.exists("/proc/self/clear_refs"):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")


def _memory(name: str) -> int:
    """Bytes that this process has in memory, or has had at most since the reset; 0 if unknown."""
    if not os.path.exists("/proc/self/status"):
        return 0
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name):
                return 1024 * int(line.split()[1])
    return 0


# Model files

X = np.random.default_rng(0).normal(size=(24, 3)).round(2).astype("float32")
LABELS = np.arange(24) % 3 * 5 + 2
HOW: dict[str, Any] = {"epochs": 2, "batch_size": 8, "backend": "numpy"}


@cache
def networks() -> list[bytes]:
    one = arraymlp.train(X, LABELS, hidden=(3,), **HOW).network
    levels = Quantile(((0.25, 0.5), (0.5, 0.75)))
    several = arraymlp.train(X, X[:, 0], hidden=(2, 2), loss=levels, seed=[1, 2], **HOW).network
    return [_saved(arraymlp.save, network) for network in (one, several)]


@cache
def sweeps() -> list[bytes]:
    result = arraymlp.sweep(X, LABELS, hidden=[(3,), ()], learning_rate=[0.1, 1e30], cv=2, **HOW)
    result.findings(0)
    result.findings(1)
    result.seconds = 0.5
    for member in result:
        for record in member.records:
            record |= {"seconds": 0.25, "samples_per_s": 64.0}  # a seed's files are the same ones
    return [_saved(SweepResult.save, result)]


@cache
def estimators() -> list[bytes]:
    how: dict[str, Any] = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}
    names = np.array(["ant", "bee", "ü"])[np.arange(24) % 3]
    weights = {"ant": 2.0, "ü": 0.5}
    models = [
        MLPClassifier(**how, class_weight=weights, n_iter_no_change=np.inf).fit(X, names),
        MLPClassifier(**how, activation=("tanh",), early_stopping=True).fit(X, LABELS.astype("u1")),
        MLPClassifier(**how, dropout=arraymlp.Dropout(0.1)).fit(
            X, np.eye(3, dtype=int)[LABELS // 5]
        ),
    ]
    return [_saved(MLPClassifier.save, model) for model in models]


@cache
def regressors() -> list[bytes]:
    how: dict[str, Any] = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}
    models = [
        MLPRegressor(**how, loss=Quantile((0.25, 0.75))).fit(X, X[:, 0]),
        MLPRegressor(**how, solver="lbfgs").fit(X, X[:, :2]),
    ]
    return [_saved(MLPRegressor.save, model) for model in models]


def _saved(save: Callable[[Any, Path], None], thing: Any) -> bytes:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        save(thing, Path(folder) / "a")
        return (Path(folder) / "a").read_bytes()


def _parameters(network: Any) -> Any:
    arrays = [(p.tobytes(), p.shape) for x in network.layers for p in (x.weights, x.bias)]
    classes = None if network.classes is None else network.classes.tolist()
    return [arrays, [x.activation for x in network.layers], network.loss, classes]


def content_of_network(network: Any) -> Any:
    """All that a network is; and it is used."""
    rows = np.ones((2, network.sizes[0]), network.dtype)
    network.predict(rows)
    return _parameters(network)


def content_of_sweep(result: Any) -> Any:
    """All that a sweep is; and it is used."""
    result.rank()
    repr(result)
    text = result.to_json()
    json.loads(text)
    if any(m.counts for m in result):
        assert result.best.counts
        assert len(result.ensemble(1).networks) == 1
    for member in result:
        if member.result is not None and result.score in member.history.columns:
            [float(value) for value in member.history[result.score]]
    trained = [n for n in result.networks if n is not None]
    return [text, [_parameters(network) for network in trained], sorted(result._findings)]


def content_of_estimator(model: Any) -> Any:
    """All that an estimator is; and it is used."""
    rows = np.ones((2, model.n_features_in_))
    if hasattr(model, "feature_names_in_"):
        import pandas

        rows = pandas.DataFrame(rows, columns=model.feature_names_in_)
    predicted = model.predict(rows)
    attributes = {name: repr(value) for name, value in vars(model).items() if name != "network_"}
    return [attributes, _parameters(model.network_), predicted.tolist(), repr(model)]


@cache
def _contents(
    read: Callable[[Path], Any], content_of: Callable[[Any], Any], file: Path, form: str
) -> Any:
    contents = []
    for original in FORMATS[form]().originals:
        file.write_bytes(original)
        contents.append(content_of(read(file)))
    return contents


def _same(read: Any, content_of: Any, name: str, thing: Any, file: Path) -> str:
    content = content_of(thing)
    before = _contents(read, content_of, file.with_name("original"), name)
    assert any(repr(content) == repr(original) for original in before), "other content, unnoticed"
    return SAME


def _valid(content_of: Any, thing: Any, file: Path) -> str:
    with np.errstate(all="ignore"):
        content_of(thing)
    return VALID


def _resealed(content: bytes, others: list[bytes], random: Random) -> bytes:
    """Another content under the right SHA-256."""
    header, tensors = apart(content)
    change_model(header, tensors, random)
    return sealed(header, tensors)


def model(name: str, originals: Any, read: Any, content_of: Any) -> dict[str, Callable[[], Format]]:
    """Two formats: with the SHA-256 that it had, and with it made right again."""
    again = f"{name}, sealed again"
    return {
        name: lambda: Format(
            "", originals(), damage, read, ModelFileError, partial(_same, read, content_of, name)
        ),
        again: lambda: Format(
            "", originals(), _resealed, read, ModelFileError, partial(_valid, content_of)
        ),
    }


# IDX


def _idx_files() -> list[bytes]:
    image = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 3, 4)) + bytes(range(24))
    numbers = b"\0\0\x0d\x01\0\0\0\x05" + np.arange(5, dtype=">f4").tobytes()
    scalar = b"\0\0\x0c\0" + (7).to_bytes(4, "big")
    return [image, numbers, scalar, gzip.compress(image), gzip.compress(numbers)]


def _change_idx(content: bytes, others: list[bytes], random: Random) -> bytes:
    if content[:2] == b"\x1f\x8b" and random.random() < 0.7:
        return gzip.compress(damage(gzip.decompress(content), others, random), 1)
    return damage(content, others, random)


def _judge_idx(array: Any, file: Path) -> str:
    content = file.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    code = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}[content[2]]
    n = content[3]
    shape = np.frombuffer(content, ">u4", n, 4)
    assert array.shape == tuple(shape.tolist())
    assert array.astype(code).tobytes() == content[4 + 4 * n :]
    return AS_READ


# Tables

CSV = [
    "a,b,species\n1,2.5,ant\n3,-4e1,bee\n0.5,.5,ant\n6,7,bee\n",
    "1,2,3\n4,5,6\n7,8,9\n10,11,12\n",
    '"x; y";"z";y\r\n1;2;0\r\n\r\n3;4;1\r\n5;6;0\r\n',
    "x\ty\n1\t0.5\n2\t0.25\n3\t1e3\n",
    "0,1,price\n1,2,5\n3,4,6\n",
]


def _judge_csv(table: Any, file: Path) -> str:
    import pandas

    for delimiter in ",;\t":
        try:
            frame = pandas.read_csv(
                file,
                sep=delimiter,
                header=None,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
            )
        except (ValueError, pandas.errors.ParserError):
            continue
        cells = frame.to_numpy()[len(frame) - len(table.X) :]
        if cells.shape == (len(table.X), table.X.shape[1] + 1) and _are_cells(table, cells):
            return AS_READ
    raise AssertionError("a table that is not pandas'")


def _are_cells(table: Any, cells: Any) -> bool:
    """Whether a table is of these cells, (rows, columns) of text, the target in the last one."""
    try:
        features = [[float(cell) for cell in row] for row in cells[:, :-1]]
        target = [cell.strip() for cell in cells[:, -1]]
        if table.names is not None:
            same = [table.names[k] for k in table.y] == target
        else:
            same = np.array_equal(table.y, [float(cell) for cell in target], equal_nan=True)
    except ValueError:
        return False
    return same and np.array_equal(table.X, features, equal_nan=True)


def _npz_files() -> list[bytes]:
    files = []
    y = np.array(["a", "bb", "a", "c"])
    x = np.arange(12, dtype="float32").reshape(4, 3)
    for save, arrays in (
        (np.savez, {"X": x, "y": np.arange(4) % 2}),
        (np.savez_compressed, {"X": np.asfortranarray(x), "y": y}),
        (np.savez, {"X": x.astype("i2"), "y": x[:, :2]}),
    ):
        buffer = io.BytesIO()
        save(buffer, **arrays)  # type: ignore[arg-type]
        files.append(buffer.getvalue())
    return files


def _change_npz(content: bytes, others: list[bytes], random: Random) -> bytes:
    """Bytes of the archive; or bytes of an array in it, with a checksum that is right."""
    if random.random() < 0.4:
        return damage(content, others, random)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            member = old.read(entry)
            if random.random() < 0.6:
                member = damage(member, [member], random)
            new.writestr(entry.filename, member, entry.compress_type)
    return buffer.getvalue()


def _judge_npz(table: Any, file: Path) -> str:
    with np.load(file, allow_pickle=False) as arrays:
        x, y = arrays["X"], arrays["y"]
    assert table.X.dtype == x.dtype
    assert table.X.tobytes() == x.tobytes()
    return _judge_target(table, y)


def _judge_target(table: Any, y: Any) -> str:
    if table.names is None:
        assert table.y.dtype == y.dtype
        assert table.y.tobytes() == y.tobytes()
    else:
        y = y.astype(str) if y.dtype.kind == "S" else y
        assert [table.names[k] for k in table.y] == [str(value) for value in y.tolist()]
    return AS_READ


@cache
def _parquet_files() -> list[bytes]:
    import pandas
    import pyarrow
    import pyarrow.parquet

    frame = pandas.DataFrame({"a": [1.5, 2, 3, 4], "b": [1, 2, 3, 4], "y": ["u", "v", "u", "w"]})
    files = []
    for table, how in (
        (frame, {"compression": "none"}),
        (frame.set_index("b").rename_axis("b"), {}),
        (frame[["a", "b"]], {"compression": "zstd", "use_dictionary": False}),
    ):
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pandas(table), buffer, **how)
        files.append(buffer.getvalue())
    return files


def _read_parquet(library: str, file: Path) -> Any:
    known = tables.PARQUET.copy()
    try:
        tables.PARQUET.clear()
        tables.PARQUET[library] = known[library]
        return tables.read_table(file)
    finally:
        tables.PARQUET.update(known)


def _judge_parquet(library: str, table: Any, file: Path) -> str:
    read = tables.PARQUET[library](file)
    names = getattr(read, "column_names", None) or list(read.columns)
    columns = [np.asarray(read[name].to_numpy()) for name in names]
    ours = table.X.T
    used = [c for c in columns if c.dtype.kind in "biuf"]
    for column in ours:  # the features, in their order, but for an index
        at = next(i for i, c in enumerate(used) if np.array_equal(c, column, equal_nan=True))
        del used[: at + 1]
    target = columns[names.index(table.target)]
    return _judge_target(table, target)


def _table(
    suffix: str, originals: Any, change: Any, judge: Any, read: Any = tables.read_table
) -> Format:
    return Format(suffix, originals, change, read, ValueError, judge)


FORMATS: dict[str, Callable[[], Format]] = {
    **model("network", networks, arraymlp.load, content_of_network),
    **model("sweep", sweeps, SweepResult.load, content_of_sweep),
    **model("classifier", estimators, MLPClassifier.load, content_of_estimator),
    **model("regressor", regressors, MLPRegressor.load, content_of_estimator),
    "IDX": lambda: Format("", _idx_files(), _change_idx, read_idx, IDXError, _judge_idx),
    "CSV": lambda: _table(".csv", [text.encode() for text in CSV], damage, _judge_csv),
    "NPZ": lambda: _table(".npz", _npz_files(), _change_npz, _judge_npz),
    **{
        f"Parquet, {library}": lambda library=library: _table(  # type: ignore[misc]
            ".parquet",
            _parquet_files(),
            damage,
            partial(_judge_parquet, library),
            partial(_read_parquet, library),
        )
        for library in tables.PARQUET
    },
}
