"""The page on logging: its code runs, section by section, and the trackers have every epoch."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import arraymlp
from pages import ROOT, Block, of_language

PAGE = ROOT / "docs" / "logging.md"
BLOCKS = of_language("python", PAGE)
# Whose warnings of what will be otherwise one day are none of ours.
WARNINGS = [f"-W{w}" for w in ("error", "ignore::DeprecationWarning", "ignore::FutureWarning")]
NOWHERE = "http://127.0.0.1:9"  # a proxy that is not there: whoever calls out fails


def section(of: Block) -> str:
    """The title of a block's section."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()[: of.line]
    return next((line[3:] for line in reversed(lines) if line.startswith("## ")), "")


def logged(title: str, folder: Path, reads: str, **environment: str) -> Any:
    """Run a section's code in a folder, and then read what it left."""
    code = "".join(block.code for block in BLOCKS if section(block) in ("", title))
    assert code.count("arraymlp.train(") == 1
    file = folder / "page.py"
    reads = f"from logged import *\nimport json\nprint('\\n' + json.dumps({reads}))\n"
    file.write_text(code + reads, encoding="utf-8")
    paths = [str(Path(arraymlp.__file__).parent.parent), str(Path(__file__).parent)]
    known = {"PYTHONPATH": os.pathsep.join(paths), "https_proxy": NOWHERE, "http_proxy": NOWHERE}
    done = subprocess.run(
        [sys.executable, *WARNINGS, str(file)], cwd=folder, env=os.environ | known | environment,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_mlflow_has_every_epoch(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    found, expected = logged(
        "MLflow", tmp_path, "[in_mlflow(), expected(run, result)]",
        MLFLOW_TRACKING_URI=(tmp_path / "store").as_uri(), MLFLOW_ALLOW_FILE_STORE="true",
    )  # fmt: skip
    sweep = found.pop("sweep")
    assert (sweep["status"], sweep["points"]) == ("FINISHED", {})
    assert len(found) == 5
    for name, run in expected.items():
        assert found[name]["points"] == run["points"]
        assert found[name]["status"] == "FINISHED"
        assert run["parameters"].items() <= found[name]["parameters"].items()
        nested = name != "one network"
        assert found[name]["parent"] == ("sweep" if nested else None)
        assert found[name]["ended"] == ("finished" if nested else None)
    assert found.keys() == expected.keys()
    assert int(found["one network"]["parameters"]["batch_size"]) > 0


def test_wandb_has_every_epoch(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    found, expected = logged(
        "Weights & Biases", tmp_path, "[in_wandb(Path('wandb')), expected(run, result)]",
        WANDB_MODE="offline", WANDB_SILENT="true", HOME=str(tmp_path),
    )  # fmt: skip
    assert len(found) == 5
    assert found.keys() == expected.keys()
    for name, run in expected.items():
        assert found[name]["points"] == run["points"]
        assert found[name]["exit"] == 0
        assert run["parameters"].items() <= found[name]["parameters"].items()
        assert found[name]["parent"] == (None if name == "one network" else "rates")
    assert int(found["one network"]["parameters"]["batch_size"]) > 0


def test_tensorboard_has_every_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    reads = (
        "[in_tensorboard(Path('runs')), of_history(run.history), "
        "[of_history(m.history) for m in result], "
        "{f'learning_rate {m.swept[\"learning_rate\"]}': of_history(m.history) for m in named}]"
    )
    found, run, members, named = logged("TensorBoard", tmp_path, reads)
    folders = {"one": run} | {f"sweep/member-{k}": m for k, m in enumerate(members)}
    for folder, whole in folders.items():
        at_validation = found.pop(f"{folder}/validation")["points"]
        assert curve(found.pop(folder), "loss") == curve(whole, "loss")
        assert at_validation["loss"] == curve(whole, "validation_loss")
    assert len(named) == 2
    for name, whole in named.items():
        assert curve(found.pop(f"named/{name}"), "loss") == curve(whole, "loss")
    assert not found


def curve(run: Any, name: str) -> Any:
    """Steps and values, as far as float32 has them."""
    return [[step, pytest.approx(value, rel=1e-6)] for step, value in run["points"][name]]


def test_every_block_of_the_page_is_run() -> None:
    titles = {section(block) for block in BLOCKS}
    assert titles == {"", "MLflow", "Weights & Biases", "TensorBoard"}
    assert len(re.findall(r"```python", PAGE.read_text(encoding="utf-8"))) == len(BLOCKS)
