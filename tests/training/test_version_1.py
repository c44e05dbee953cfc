"""Model files of format 1 still open, to the same predictions.

Those in ``data/`` were written by the last commit of that format, each with its predictions for X
in ``version-1.json``.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraymlp import ModelFileError, SweepResult, load, save
from arraymlp.losses import Quantile
from model_files import apart

DATA = Path(__file__).parent / "data"
EXPECTED: dict[str, Any] = json.loads((DATA / "version-1.json").read_text())
X = np.array(EXPECTED["X"], "float32")


def test_a_network() -> None:
    network = load(DATA / "network-1.safetensors")
    assert (network.members, network.loss) == (2, Quantile((0.25, 0.5)))
    np.testing.assert_allclose(network.predict(X), EXPECTED["network"], rtol=1e-5)


def test_a_sweep() -> None:
    result = SweepResult.load(DATA / "sweep-1.safetensors")
    rank = [{**r, "rank": None if r["mean"] is None else r["rank"]} for r in EXPECTED["rank"]]
    assert result.rank() == rank  # then a setting of which all networks failed had one, too
    assert result.findings(0) == []  # it was asked, and so needs no data now
    for k in (0, 2):
        predicted = result[k].network.predict_proba(X)
        np.testing.assert_allclose(predicted, EXPECTED["sweep"][k], rtol=1e-5)
    assert [m.status for m in result] == ["finished", "diverged"] * 2


def test_an_estimator_with_infinity_as_python_writes_it() -> None:
    pytest.importorskip("sklearn", minversion="1.7")
    from arraymlp import Dropout, MLPClassifier

    file = DATA / "classifier-1.safetensors"
    assert b"Infinity" in file.read_bytes()
    model = MLPClassifier.load(file)
    assert model.n_iter_no_change == np.inf
    assert model.class_weight == {"a": 2.0}
    assert model.dropout == Dropout(0.1)
    assert model.classes_.tolist() == ["a", "bb", "ü"]
    np.testing.assert_allclose(model.predict_proba(X), EXPECTED["classifier"], rtol=1e-5)


@pytest.mark.parametrize("name", ["network", "sweep", "classifier"])
def test_its_tensors_are_under_its_sha_256(name: str, tmp_path: Path) -> None:
    content = bytearray((DATA / f"{name}-1.safetensors").read_bytes())
    content[-1] ^= 1
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content)
    with pytest.raises(ModelFileError, match="it is damaged"):
        (SweepResult.load if name == "sweep" else load)(damaged)


def test_saved_again_it_is_of_format_2(tmp_path: Path) -> None:
    file = tmp_path / "again.safetensors"
    save(load(DATA / "network-1.safetensors"), file)
    assert apart(file.read_bytes())[0]["format"] == 2
