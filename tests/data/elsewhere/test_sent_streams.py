"""What a stream of a memmap, or of arrays in memory, is in the process that it is sent to."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from arraymlp.data.chunks import stream_chunks
from arraymlp.data.encoded_rows import PlainRows
from arraymlp.data.files.table_files import open_table
from arraymlp.data.files.table_rows import TableRows
from arraymlp.data.stream import stream
from elsewhere import rows_elsewhere, rows_of

X = np.random.default_rng(0).normal(size=(5000, 8)).astype(np.float32)
PARTS = {
    "whole": lambda x: x,
    "rows": lambda x: x[100:4000],
    "every third, backwards": lambda x: x[::-3],
    "columns": lambda x: x[:, 2:5],
    "transposed": lambda x: x[:8].T,
    "bytes": lambda x: x.view(np.uint8),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "X.npy", X)
    return tmp_path / "X.npy"


@pytest.mark.parametrize("part", PARTS)
def test_a_memmap_is_sent_by_its_path(part: str, path: Path) -> None:
    streamed = stream(PARTS[part](np.load(path, mmap_mode="r")), "float32")
    pickled = pickle.dumps(streamed)
    assert len(pickled) < 1500
    again = pickle.loads(pickle.dumps(pickle.loads(pickled)))  # sent on by who it was sent to
    for there in (pickle.loads(pickled), again):
        np.testing.assert_array_equal(rows_of(there, 999), rows_of(streamed, 999))


def test_another_process_maps_the_file(path: Path) -> None:
    streamed = stream(np.load(path, mmap_mode="r"), "float64").kept(np.arange(7, 900))
    np.testing.assert_array_equal(rows_elsewhere(streamed), X[7:900])


def test_what_was_written_is_there(tmp_path: Path) -> None:
    written = np.memmap(tmp_path / "raw", np.float32, "w+", 64, X.shape)
    written[:] = X
    there = pickle.loads(pickle.dumps(stream(written, "float32")))
    np.testing.assert_array_equal(rows_of(there, 999), X)


def test_a_file_that_changed_is_refused(path: Path) -> None:
    pickled = pickle.dumps(stream(np.load(path, mmap_mode="r"), "float32"))
    np.save(path, X[:100])
    with pytest.raises(OSError, match=r"X.npy is another file than where it was sent from"):
        pickle.loads(pickled)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"X.npy"):
        pickle.loads(pickled)


def test_what_is_not_in_the_file_is_not_sent(path: Path) -> None:
    own = np.load(path, mmap_mode="c")
    own[0] = 1
    with pytest.raises(TypeError, match=r"mode='c' cannot be sent to another process"):
        pickle.dumps(stream(own, "float32"))


def test_a_table_in_a_temporary_file_says_why_it_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n" + "1,2\n" * 30)
    with open_table(tmp_path / "data.csv") as table, TableRows(table) as rows:
        streamed = stream(PlainRows(rows), "float32")
        assert rows_of(streamed).shape == (30, 2)
        assert rows.select(["b"]).names == ("b",)
        with pytest.raises(TypeError, match=r"data.csv is kept in a temporary file, which another"):
            pickle.dumps(streamed)


def test_chunks_and_sparse_rows_are_sent_as_they_are() -> None:
    streamed, _ = stream_chunks([(X[:30], X[:30, 0]), (X[30:50], X[30:50, 0])], "float32")
    np.testing.assert_array_equal(rows_of(pickle.loads(pickle.dumps(streamed))), X[:50])
    scipy = pytest.importorskip("scipy.sparse")
    sparse = pickle.loads(pickle.dumps(stream(scipy.csr_array(X[:50]), "float32")))
    np.testing.assert_array_equal(np.concatenate(list(sparse.host_blocks())), X[:50])
