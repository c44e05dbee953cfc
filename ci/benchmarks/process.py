"""The cost of a process: seconds to import, and its peak memory."""

import json
import statistics
import subprocess
import sys
from typing import NamedTuple


class Figure(NamedTuple):
    """One thing measured.

    Attributes:
        what: its name.
        value: None where it cannot be measured, on Windows.
        unit: of value and goal.
        goal: the most that it should be.
        detail: how it comes about.
    """

    what: str
    value: float | None
    unit: str
    goal: float
    detail: str

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.what}: not measured on this system"
        met = "reached" if self.value <= self.goal else "missed"
        value, goal = f"{self.value:.3g} {self.unit}", f"{self.goal:.3g} {self.unit}"
        return f"{self.what}: {value} ({self.detail}; goal: at most {goal}, {met})"


# On Linux a child's ru_maxrss is at least what its parent held; VmHWM is the process's own.
PEAK = """
import resource, sys
from pathlib import Path

def peak():
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024)
"""
# Data for 784-100-100-10 as float32; its values make no difference.
TRAIN = """
import numpy as np
from arraymlp import train
imported = peak()
rng = np.random.default_rng(0)
X, y = rng.random((60_000, 784), dtype=np.float32), rng.integers(0, 10, 60_000)
train(X, y, optimizer="sgd", epochs=1, backend="numpy")
print([peak() - imported, X.nbytes])
"""
LAB = """
import tempfile
from arraymlp.app.lab.training import run_lab
from arraymlp.app.lab.report import write_report
write_report(run_lab(backend="numpy", epochs=1), Path(tempfile.mkdtemp()))
print([peak()])
"""


def figures() -> list[Figure]:
    """Import time, the peak memory of a training run, and that of the lab."""
    base = import_seconds("import numpy, array_api_compat.numpy")
    ours = import_seconds("import arraymlp")
    detail = f"{ours:.3f} s, NumPy and array-api-compat {base:.3f} s"
    imports = Figure("import arraymlp", ours / base, "times theirs", 1.4, detail)
    peak = data = lab = None
    if sys.platform != "win32":
        peak, data = (b / 1e6 for b in answer(PEAK + TRAIN))
        lab = answer(PEAK + LAB)[0] / 1e9
    return [
        imports,
        training_memory(peak, data or 1.0),
        Figure("peak memory of the lab", lab, "GB", 1.0, "an epoch of each run"),
    ]


def training_memory(peak: float | None, data: float) -> Figure:
    """The peak memory of a run, without that of the imports; both in MB."""
    what = "peak memory of training 784-100-100-10 on 60,000 rows"
    times = f"{(peak or 0) / data:.2f} times the {data:.0f} MB of data"
    return Figure(what, peak, "MB", 1.3 * data + 100, f"{times}; 1.3 times and 100 MB are allowed")


def import_seconds(code: str, repeats: int = 7) -> float:
    """Median seconds a fresh interpreter takes for the imports alone."""
    clock = f"from time import perf_counter as c; t = c(); {code}; print([c() - t])"
    return statistics.median(answer(clock)[0] for _ in range(repeats))


def answer(code: str) -> list[float]:
    """The list that a fresh interpreter prints last."""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    numbers: list[float] = json.loads(done.stdout.splitlines()[-1])
    return numbers
