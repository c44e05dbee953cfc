"""Ten kills of trainings in processes of their own; `ci/kills` does more."""

import subprocess
import sys
from pathlib import Path

import pytest

KILLS = Path(__file__).parents[1] / "ci" / "kills.py"
CASES = "Adam,weight average,population,chunks,sweep"


@pytest.mark.skipif(sys.platform == "win32", reason="no process is killed by a signal there")
def test_a_training_that_is_killed_goes_on_to_the_same_bits() -> None:
    command = [sys.executable, KILLS, "10", "--jobs", "1", "--only", CASES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    head, *_, total, _ = done.stdout.splitlines()
    figures = dict(zip(head.split()[1:], total.split()[1:], strict=True))
    assert (figures["kills"], figures["bits"]) == ("10", "0"), done.stdout
