"""Which way whole epochs go: that of the note, or of who asks for one; three kernels otherwise."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraymlp import MultilayerPerceptron
from arraymlp.engines.cuda import ways
from arraymlp.engines.cuda.epochs import MOST_ROWS, FusedEpochs
from arraymlp.engines.cuda.source import RefusedError
from arraymlp.optimizers import SGD
from arraymlp.steps.step import array_step
from arraymlp.steps.update import initial_states
from arraymlp.training.atomic import write_whole
from cuda_on_host import HostKernels, unavailable
from fused_cases import Case, at_once, parameters
from pages import ROOT

pytestmark = [
    pytest.mark.skipif(bool(unavailable()), reason=unavailable()),
    pytest.mark.xdist_group(__name__),  # kernels are compiled once a process
]
MODEL = "a GPU"
KERNELS = {"three kernels": "first_layer", "persistent": "persistent", "clusters": "clusters"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(ways.VARIABLE, raising=False)


class Host:
    """The devices of `ways.Ways`, on the host, which knows what was launched."""

    def __init__(self, refuses: bool = False) -> None:
        self.devices: dict[str, Any] = {}
        self._refuses = refuses

    def __call__(self, file: str) -> Any:
        if file not in self.devices:
            self.devices[file] = Refusing(file) if self._refuses else HostKernels(file)
        return self.devices[file]

    def launched(self) -> set[str]:
        """The ways that were gone."""
        names = {name for device in self.devices.values() for name in device.launched}
        return {way for way, kernel in KERNELS.items() if any(n.startswith(kernel) for n in names)}


class Refusing(HostKernels):
    """A device another process of which has the room that the blocks need."""

    def launch(self, name: str, *args: Any, cooperative: bool = False, **more: Any) -> None:
        """Refuse what must run at once."""
        if cooperative or name.startswith("clusters"):
            raise RefusedError("0 blocks fit on the device")
        super().launch(name, *args, **more)


def trained(host: Host, members: int | None = None) -> tuple[list[Any], set[str]]:
    """The parameters after an epoch by a way that is chosen, and the ways that were gone."""
    case = Case(members=members)
    network = case.networks["float32"].copy()
    states = initial_states(network, case.rule)
    step = FusedEpochs(
        array_step(network, case.rule, "mean"),
        network,
        case.rule,
        "mean",
        ways.Ways(host, at_once, MODEL),
    )
    assert step.epoch(network, states, case.rows(), case.table(network), lambda: False)
    return parameters(network), host.launched()


def note(way: str, members: int = 1, sizes: Sequence[int] = (9, 7, 5, 4)) -> None:
    path = ways.notes_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, ways.with_note(MODEL, members, sizes, way))


def test_without_a_note_it_is_three_kernels() -> None:
    assert trained(Host())[1] == {"three kernels"}


@pytest.mark.parametrize("way", ways.OTHERS)
def test_it_is_the_way_of_the_note(way: str) -> None:
    usual, _ = trained(Host())
    note("clusters", members=2)
    note("clusters", sizes=(9, 7, 5, 3))
    assert trained(Host())[1] == {"three kernels"}
    note(way)
    by_note, gone = trained(Host())
    assert gone == {way}
    for a, b in zip(by_note, usual, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    note("three kernels")  # measured anew
    assert trained(Host())[1] == {"three kernels"}


@pytest.mark.parametrize("folder", ["", "beside"])
def test_without_a_folder_for_caches_it_is_that_of_the_home(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", folder)
    assert ways.notes_path() == tmp_path / ".cache" / "arraymlp" / "cuda-ways.json"


@pytest.mark.parametrize("content", [b"", b"[]", b'"clusters"', b"\xff", b'{"a": 1}', None])
def test_a_file_that_says_nothing_is_no_note(content: bytes | None) -> None:
    path = ways.notes_path()
    if content is None:  # one of kernels that are no longer these
        note("clusters")
        (key,) = json.loads(path.read_text("utf-8"))
        content = json.dumps({key.replace("kernels ", "kernels 0"): "clusters"}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert trained(Host())[1] == {"three kernels"}
    note("clusters")  # written over it
    assert trained(Host())[1] == {"clusters"}


@pytest.mark.parametrize("way", [ways.USUAL, *ways.OTHERS])
def test_who_wants_a_way_gets_it(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    note("clusters")
    monkeypatch.setenv(ways.VARIABLE, way)
    assert trained(Host())[1] == {way}
    monkeypatch.setenv(ways.VARIABLE, "no such way")
    with ways.wanted(way):  # who asks is heard first
        assert trained(Host())[1] == {way}
    with pytest.raises(ValueError, match="ARRAYMLP_CUDA_WAY=no such way: give three kernels, pers"):
        trained(Host())


@pytest.mark.parametrize("way", [ways.USUAL, *ways.OTHERS])
def test_the_log_names_the_way(way: str, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "arraymlp")
    with ways.wanted(way):
        trained(Host())
    said = [line for line in caplog.messages if "an epoch at a time" in line]
    assert said == [f"an epoch at a time by {way}"]


def test_what_a_way_does_not_cover_goes_by_three_kernels(caplog: Any) -> None:
    caplog.set_level(logging.INFO, "arraymlp")
    with ways.wanted("persistent"):
        assert trained(Host(), members=2)[1] == {"three kernels"}
    assert "by three kernels, not by persistent: it is for one network, not for 2" in caplog.text


@pytest.mark.parametrize("way", ways.OTHERS)
def test_what_a_device_refuses_goes_by_three_kernels(way: str, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "arraymlp")
    usual, _ = trained(Host())
    with ways.wanted(way):
        ours, gone = trained(Host(refuses=True))
    assert gone == {"three kernels"}
    assert f"by three kernels, not by {way}: 0 blocks fit on the device" in caplog.text
    for a, b in zip(ours, usual, strict=True):
        np.testing.assert_array_equal(a, b)


def test_which_ways_cover_a_network() -> None:
    def covering(batch: int = 10, **given: Any) -> tuple[str, ...]:
        network = MultilayerPerceptron.create((9, 7, 4), **given)
        return ways.Ways(Host(), at_once, MODEL).covering(network, SGD(), batch)

    assert covering() == (ways.USUAL, *ways.OTHERS)
    assert covering(seed=range(3)) == (ways.USUAL, "clusters")
    assert covering(dtype="float64") == ()
    assert covering(batch=MOST_ROWS + 1) == ()


def test_another_way_must_be_faster_by_more_than_noise() -> None:
    assert ways.fastest({"three kernels": 8.0, "persistent": 7.8, "clusters": 9.0}) == ways.USUAL
    assert ways.fastest({"three kernels": 8.0, "persistent": 5.0, "clusters": 4.9}) == "clusters"
    assert ways.fastest({"persistent": 5.0}) == "persistent"


def test_the_command_times_them_and_notes_the_fastest(tmp_path: Path) -> None:
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    fake = ROOT / "tests" / "support" / "fake_cupy"
    environment = {**os.environ, "COLUMNS": "200", "XDG_CACHE_HOME": str(tmp_path)}
    environment["PYTHONPATH"] = f"{fake}:{os.environ.get('PYTHONPATH', '')}"
    command = [sys.executable, "-m", "arraymlp", "backends", "--bench", "--sizes", "8-6-3"]
    command += ["--batch-size", "10", "--optimizer", "sgd", "--seconds", "0.1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for way in (ways.USUAL, *ways.OTHERS):
        assert f"by {way}" in done.stdout, done.stdout
    (noted,) = json.loads((tmp_path / "arraymlp" / "cuda-ways.json").read_text("utf-8")).items()
    assert noted[0].endswith(": 1 x 8-6-3")
    assert f"such networks train whole epochs by {noted[1]}" in " ".join(done.stdout.split())
