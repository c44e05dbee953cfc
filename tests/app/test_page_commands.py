"""``arraymlp show --page`` and ``train --page``."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from arraymlp import save, sweep, to_onnx, train
from commands import run
from in_javascript import data_of

N = 60
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 3))
LABEL = np.where(X[:, 0] + X[:, 1] > 0, "up", "down")


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A table of numbers and texts, with its target last."""
    lines = [f"{a:.3f},{'ab'[i % 2]},{label}" for i, (a, label) in enumerate(zip(X[:, 0], LABEL, strict=True))]  # fmt: skip  # noqa: E501
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["size,kind,way", *lines]) + "\n")
    return str(path)


def content_of(page: Path) -> Any:
    return data_of(page.read_text(encoding="utf-8"))[0]


def test_train_writes_a_page_of_its_epochs(
    capsys: Any, monkeypatch: Any, tmp_path: Path, table: str
) -> None:
    page, quick = tmp_path / "page.html", ("--members", "2", "--epochs", "4", "--backend", "numpy")
    status, out, err = run(
        capsys,
        monkeypatch,
        "train",
        table,
        "--target",
        "way",
        *quick,
        "--page",
        str(page),
        "--json",
    )
    assert status == 0, err
    assert json.loads(out)["page"] == str(page)
    content = content_of(page)
    (model,) = content["models"]
    assert model["name"] == "way of table.csv"
    assert [c["name"] for c in content["columns"]] == ["size", "kind"]
    assert model["course"]["stops"][0]["epoch"] == -1
    assert len(model["course"]["stops"]) > 2
    assert content["examples"]["rows"] > 0
    status, _, err = run(
        capsys, monkeypatch, "train", table, "--target", "way", *quick, "--page", table
    )
    assert status == 2
    assert "would be lost" in err


@pytest.mark.parametrize("kind", ["network", "run", "sweep", "onnx"])
def test_show_writes_a_page_of_any_file(
    capsys: Any, monkeypatch: Any, tmp_path: Path, kind: str
) -> None:
    given: dict[str, Any] = {"epochs": 2, "batch_size": 16, "backend": "numpy"}
    file, page = str(tmp_path / "model.safetensors"), tmp_path / "page.html"
    if kind == "sweep":
        sweep(X, LABEL, learning_rate=[0.1, 0.2], validation=0.2, **given).save(file)
    else:
        trained = train(X, LABEL, snapshots=3, seed=[0, 1], **given)
        if kind == "onnx":
            pytest.importorskip("onnx")
            file = str(tmp_path / "model.onnx")
            to_onnx(trained.network, file)
        else:
            save(trained if kind == "run" else trained.network, file)
    np.savez(tmp_path / "rows.npz", X=X, y=LABEL)
    examples = ("--examples", str(tmp_path / "rows.npz"))
    status, out, err = run(capsys, monkeypatch, "show", file, "--page", str(page), *examples)
    assert status == 0, err
    assert "layers" in out
    assert f"the page: {page}" in err
    content = content_of(page)
    (model,) = content["models"]
    assert model["classes"] == ["down", "up"]
    assert len(model["course"]["stops"]) == (3 if kind == "run" else 1)
    assert content["examples"]["rows"] == N


def test_examples_bring_their_targets_where_they_have_them(
    capsys: Any, monkeypatch: Any, tmp_path: Path, table: str
) -> None:
    file, page = str(tmp_path / "model.safetensors"), tmp_path / "page.html"
    quick = ("--members", "2", "--epochs", "2", "--backend", "numpy", "--save", file)
    assert run(capsys, monkeypatch, "train", table, "--target", "way", *quick)[0] == 0
    without = tmp_path / "new.csv"
    without.write_text("kind,other,size\nb,1,0.5\n,2,\n")
    for examples, truth in ((table, LABEL.tolist()), (str(without), None)):
        arguments = ("--page", str(page), "--examples", examples)
        status, _, err = run(capsys, monkeypatch, "show", file, *arguments)
        assert status == 0, err
        assert content_of(page)["examples"]["truth"] == truth


def test_what_show_refuses(capsys: Any, monkeypatch: Any, tmp_path: Path, table: str) -> None:
    file, page = str(tmp_path / "model.safetensors"), str(tmp_path / "page.html")
    quick = ("--members", "2", "--epochs", "2", "--backend", "numpy", "--save", file)
    assert run(capsys, monkeypatch, "train", table, "--target", "way", *quick)[0] == 0
    narrow = tmp_path / "narrow.csv"
    narrow.write_text("size\n1\n")
    for arguments, message in (
        (("--examples", table), "give --page, too"),
        (("--page", page, "--examples", "-"), "standard input is not"),
        (("--page", page, "--examples", str(narrow)), "kind"),
        (("--page", file), "would be lost"),
        (("--page", str(tmp_path / "absent" / "page.html")), "cannot be written"),
    ):
        status, _, err = run(capsys, monkeypatch, "show", file, *arguments)
        assert status == 2
        assert message in err
    assert not Path(page).exists()
