"""Folders of Parquet files are trained on row group by row group, as the same rows in pandas."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arraymlp
import commands
from arraymlp.data.elsewhere.given import opened
from arraymlp.data.files.parquet_dataset import ParquetDataset, natural
from arraymlp.data.files.table_files import open_table
from elsewhere import rows_elsewhere, rows_of, same_training
from engines_required import require_engine
from tables_alike import plain
from tables_elsewhere import BOTH, N, quiet, reads, table, write_folder

require_engine("parquet")
import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

DF = table()
HOW: dict[str, Any] = {"epochs": 2, "batch_size": 20, "window": 100, "backend": "numpy"}
ENDS = (10, 10, 130, 200, 260, 300, 350, 390, 400, 480, 599)  # an empty file, and part-10


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data", DF, ENDS)


def test_training_has_the_bits_of_the_frame_in_memory(folder: Path) -> None:
    with quiet():
        how = {**HOW, **BOTH}
        expected = arraymlp.train(DF, "label", **how)
        for X in (folder, str(folder)):
            run = arraymlp.train(X, "label", **how)
            same_training(run, expected)
    assert run.network.encoding == expected.network.encoding
    assert (run.predict(folder) == expected.predict(DF)).all()
    assert str(run.evaluate(folder)) == str(expected.evaluate(DF))
    part = folder / "part-2.parquet"
    assert (run.predict(part) == expected.predict(DF[10:130])).all()


def test_numbers_alone_are_trained_on_as_they_are(tmp_path: Path) -> None:
    X, y = DF[["number", "whole"]], DF["flag"].astype(int)
    folder = write_folder(tmp_path / "numbers", X, ENDS)
    run = arraymlp.train(folder, y, standardize=True, **HOW)
    same_training(run, arraymlp.train(X, y, standardize=True, **HOW))


def test_each_row_group_is_read_once_in_a_pass(folder: Path) -> None:
    with quiet():
        run = arraymlp.train(folder, "label", preset="default", **HOW)
    every = {(g.file, g.number) for g in ParquetDataset(folder).groups}
    assert len(every) == 18
    for size in (20, 100, 1000):
        with reads() as noted:
            assert len(rows_of(run.data.X, size)) == N
        assert {(f, g) for f, g, _ in noted} == every
        assert len(noted) == len(every)
        assert all("label" not in names for _, _, names in noted)
    with reads() as noted:
        assert len(rows_of(run.data.X.kept(np.r_[12:20, 300:310]), 500)) == 18
    assert [(f, g) for f, g, _ in noted] == [(2, 0), (6, 0)]


def test_what_columns_are_is_read_from_the_files_ends(folder: Path, tmp_path: Path) -> None:
    with reads() as noted:
        kinds = dict(opened(folder).kinds)
    assert not noted
    with open_table(folder) as file:
        assert kinds == file.kinds()
        assert plain(file.read()) == plain(opened(folder)[:])
    whole = pd.read_parquet(folder / "part-2.parquet")
    pq.write_table(pa.Table.from_pandas(whole), tmp_path / "plain.parquet", write_statistics=False)
    with reads() as noted:
        found = opened(tmp_path / "plain.parquet").kinds
    assert {name for _, _, (name,) in noted} == {"whole", "flag", "maybe", "perhaps"}
    assert found["perhaps"] == kinds["perhaps"] == "text"


def test_folders_may_say_what_is_in_them(tmp_path: Path) -> None:
    expected = []
    for year, kind in (
        (2024, "a b"),
        (2024, "c"),
        (2025, "a b"),
        (10000, "__HIVE_DEFAULT_PARTITION__"),
    ):
        at = tmp_path / "data" / f"year={year}" / f"kind={kind.replace(' ', '%20')}"
        write_folder(at, DF[["number"]][:3], ())
        expected += [(year, kind if "_" not in kind else None)] * 3
    found = opened(tmp_path / "data")
    assert found.names == ("number", "year", "kind")
    assert found.kinds == {"number": "number", "year": "integer", "kind": "text"}
    values = found.read(names=["kind", "year"])
    assert (
        list(zip(values.column("year"), values.column("kind").to_numpy(), strict=True)) == expected
    )
    (tmp_path / "data" / "loose").mkdir()
    write_folder(tmp_path / "data" / "loose", DF[["number"]][:3], ())
    with pytest.raises(ValueError, match=r"some files lie in folders that say .*'year', 'kind'"):
        opened(tmp_path / "data")


def test_files_come_in_the_order_of_their_numbers(folder: Path) -> None:
    paths = [Path(file.path).name for file in ParquetDataset(folder).files]
    assert paths == [f"part-{i}.parquet" for i in range(12)]
    assert sorted(["b", "a10", "a9", "a", "10", "9"], key=natural) == [
        "9",
        "10",
        "a",
        "a9",
        "a10",
        "b",
    ]


def test_hidden_files_and_others_are_passed_over(folder: Path) -> None:
    for name in ("_metadata", "_common_metadata", ".part.parquet", "_x.parquet", "readme.txt"):
        (folder / name).write_bytes(b"nothing")
    (folder / "_temporary").mkdir()
    (folder / "_temporary" / "part.parquet").write_bytes(b"nothing")
    assert len(opened(folder)) == N


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda df: df.drop(columns="gaps"), "part-5.parquet: it lacks the column 'gaps', which"),
        (lambda df: df.assign(more=1), "part-5.parquet: it has a column 'more', which .*part-0"),
        (
            lambda df: df.assign(whole=df.whole / 2),
            "part-5.parquet: column 'whole' is double, but in .*part-0.parquet it is int64",
        ),
        (
            lambda df: df.assign(text=1.5),
            "part-5.parquet: column 'text' is double, but in .*_string",
        ),
    ],
)
def test_files_with_other_columns_are_named(folder: Path, change: Any, words: str) -> None:
    change(DF[260:300]).to_parquet(folder / "part-5.parquet", index=False)
    for read in (opened, open_table):
        with pytest.raises(ValueError, match=words):
            read(folder)


def test_a_column_of_texts_may_be_coded_or_absent_in_some_files(folder: Path) -> None:
    DF[260:300].assign(text=DF.text[260:300].astype("category")).to_parquet(
        folder / "part-5.parquet", index=False
    )
    missing = pa.Table.from_pandas(DF[300:350], preserve_index=False)
    place = missing.schema.get_field_index("text")
    pq.write_table(missing.set_column(place, "text", pa.nulls(50)), folder / "part-6.parquet")
    texts = opened(folder).column("text").to_numpy()
    assert texts[:300].tolist() == [None if pd.isna(v) else v for v in DF.text[:300]]
    assert set(texts[300:350]) == {None}


def test_what_is_not_there_or_damaged_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file or folder"):
        arraymlp.train(tmp_path / "none", "label")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: there is no .parquet file in it"):
        arraymlp.train(tmp_path / "empty", "label")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"of paths those of .parquet files, and of folders"):
        arraymlp.train(tmp_path / "a.csv", "b")
    with pytest.raises(ValueError, match=r"y is 'none', but X has no such column"):
        arraymlp.train(folder, "none")
    with pytest.raises(ModuleNotFoundError, match=r"strange://x: what reads it is not installed"):
        arraymlp.train("strange://x", "label")
    found = opened(folder)
    (folder / "part-3.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"part-3.parquet"):
        found[:]
    (folder / "part-3.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(ValueError, match=r"part-3.parquet: not readable as Parquet"):
        opened(folder)
    (folder / "_delta_log").mkdir()
    (folder / "_delta_log" / "0.json").write_text("{}")
    with pytest.raises(ValueError, match=r"it is a Delta table"):
        opened(folder)


def test_a_file_that_was_written_anew_is_refused(tmp_path: Path) -> None:
    """Its end, which is kept, would say where other values are."""
    table = pa.table({"a": np.sqrt(np.arange(40.0)), "label": ["p", "q"] * 20})
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path, row_group_size=10)

    def write_anew(event: Any) -> None:
        pq.write_table(table.set_column(0, "a", pa.array(np.ones(40))), path, row_group_size=10)
        os.utime(path, ns=(1, 1))

    how = {"epochs": 3, "window": 10, "batch_size": 5, "callbacks": write_anew}
    with pytest.raises(ValueError, match=r"rows\.parquet.* another file than when it was read"):
        arraymlp.train(str(tmp_path), "label", early_stopping=False, **how)


def test_texts_may_be_views(tmp_path: Path) -> None:
    if not hasattr(pa, "string_view"):
        pytest.skip("this pyarrow has no views")
    texts = pa.array(["u", "v", "w"] * 10)
    for name, kind in (("strings", pa.string()), ("views", pa.string_view())):
        (tmp_path / name).mkdir()
        table = pa.table({"a": texts.cast(kind), "y": np.arange(30.0)})
        pq.write_table(table, tmp_path / name / "rows.parquet")
    runs = [arraymlp.train(str(tmp_path / name), "y", epochs=1) for name in ("strings", "views")]
    assert runs[0].history["loss"] == runs[1].history["loss"]


def test_without_pyarrow_it_says_what_to_install(folder: Path, monkeypatch: Any) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow.fs", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"Parquet files need pyarrow: pip install pyarrow"
    ):
        arraymlp.train(folder, "label")


def test_another_process_reads_the_files_again(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(folder.parent)
    with quiet():
        run = arraymlp.train(folder.name, "label", validation=0.2, **HOW)
    monkeypatch.chdir(os.sep)
    np.testing.assert_array_equal(rows_elsewhere(run.data.X), rows_of(run.data.X))
    assert len(pickle.dumps(run.data.X)) < 500_000


def test_the_command_line_takes_a_folder(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    pytest.importorskip("typer")

    def said(*arguments: object) -> str:
        status, out, err = commands.run(capsys, monkeypatch, *map(str, arguments))
        assert status == 0, err
        return str(out)

    model, predicted = tmp_path / "model.safetensors", tmp_path / "predicted.csv"
    told = said("train", folder, "--target", "label", "--epochs", 2, "--save", model)
    assert "600 rows, 10 columns beside the target" in told
    said("predict", model, folder, "-o", predicted)
    assert len(predicted.read_text().splitlines()) == N + 1
    assert said("evaluate", model, folder).startswith("600 rows")
    (folder / "part-3.parquet").write_bytes(b"nothing")
    status, _, err = commands.run(capsys, monkeypatch, "evaluate", str(model), str(folder))
    assert status == 2
    assert "part-3.parquet: not readable as Parquet" in err
