"""docs/speed.md from the files under ci/results/: `ci/bench --page` writes it.

It needs no package, so that a page can be made wherever the results are.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "ci" / "results"
PAGE = ROOT / "docs" / "speed.md"
OURS, BARE = "arraymlp", "bare products"
OURSELVES = (
    *(BARE, OURS, 'arraymlp, engine="array"', "arraymlp, one by one"),
    *("a checkpoint every epoch", "a checkpoint every step"),
)

HEAD = """\
# Speed

<!-- `ci/bench --page` wrote this page from the files under ci/results/. Change those, or
ci/benchmarks/page.py. -->

`ci/bench` measures arraymlp beside scikit-learn, PyTorch and JAX on a machine's CPU. These
figures were measured on {date}, at commit {commit}, on {cores} cores of an {cpu} shared with
other machines: Python {python}, NumPy {numpy} ({blas}), scikit-learn {scikit-learn}, PyTorch
{torch}, JAX {jax} (`ci/results/bench-cpu.json`).

Float32 unless said, ReLU, softmax with cross-entropy, mean reduction, data in memory. All
candidates run in one process and take turns in every round, on one thread and on all cores, and
their better number counts. Times are medians of the rounds; ratios are medians of the rounds'
ratios. *Bare products* are the matrix products alone, by NumPy, into preallocated outputs. From
equal weights the mean losses of an epoch in order agree between all but scikit-learn, which draws
its own; each measurement says how closely. A busy machine slows threads more than anything else;
differences below a tenth mean nothing here.
"""

WHY = """\
What limits them: wide layers are products and nothing else, here as in OpenBLAS and XLA. In a fit
and a search the bare products alone take two fifths and a quarter of scikit-learn's time, which
bounds the ratio to what they leave; in a search a quarter of ours is each network's score, by
scikit-learn's own checks. Of 64 small networks' time two fifths are Python's: settings, records and
results of each; 16 units and 3 classes fill a part of a register. The lab evaluates 70,000 images
after each epoch of 60,000, which takes a third of its time.
"""


def page(cpu: Mapping[str, Any], gpu: Sequence[str] = ()) -> str:
    """The page's text.

    Args:
        cpu: the content of bench-cpu.json.
        gpu: names of result files from GPUs.
    """
    results = cpu["results"]
    parts = [
        HEAD.format(**cpu["machine"]),
        "## At a glance\n",
        _glance(results),
        "## What was aimed at\n",
        _goals(results, cpu["process"]),
        "## On a GPU\n",
        _on_gpu(gpu),
        "## Each measurement\n",
        *map(_table, results),
        "### The cost of a process\n",
        *(_process(figure) + "\n" for figure in cpu["process"]),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _glance(results: Sequence[Mapping[str, Any]]) -> str:
    """A line for each result: our time, and the fastest other's."""
    lines = ["| | arraymlp | the fastest other | its time / ours |", "|---|---|---|---|"]
    for result in results:
        peers = [name for name in result["figures"] if name not in OURSELVES]
        others = {
            name: result["figures"][name]
            for name in peers or set(result["figures"]) - {BARE, OURS}
            if result["figures"][name]["over_ours"]
        }
        name = min(others, key=lambda n: others[n]["over_ours"])
        ours, ratio = result["figures"][OURS]["seconds"], others[name]["over_ours"]
        lines.append(f"| {result['title']} | {seconds_text(ours)} s | {name} | {_ratio(ratio)} |")
    return "\n".join(lines) + "\n"


def _goals(results: Sequence[Mapping[str, Any]], process: Sequence[Mapping[str, Any]]) -> str:
    """How many goals were reached, and each that was missed."""
    reached, missed = 0, []
    for result in results:
        for name, goal in result["goals"].items():
            figures = result["figures"].get(name, {"reached": None})
            if figures["reached"]:
                reached += 1
            elif figures["reached"] is not None:
                of = figures["over_bare" if "bare" in goal else "over_ours"]
                missed.append(f"- {result['title']}: {name} {goal}; it is {_ratio(of)}.")
    for figure in process:
        if figure["value"] is not None and figure["value"] <= figure["goal"]:
            reached += 1
        elif figure["value"] is not None:
            missed.append(f"- {_process(figure)[2:]}.")
    text = f"Of {reached + len(missed)} goals {reached} were reached. Missed:\n\n"
    return text + "\n".join(missed) + "\n\n" + WHY


def _on_gpu(gpu: Sequence[str]) -> str:
    if gpu:
        return "\n".join(f"- `ci/results/{name}`" for name in gpu) + "\n"
    return "Nothing is measured: no part of this version has run on a CUDA GPU.\n"


def _table(result: Mapping[str, Any]) -> str:
    """A result: a line for each candidate."""
    bare = BARE in result["names"]
    head = ["", "seconds", "threads", *(["/ bare"] if bare else []), "/ ours", "goal"]
    lines = [head, ["---"] * len(head)]
    for name in result["names"]:
        if name in result["absent"]:
            lines.append([name, result["absent"][name], *[""] * (len(head) - 2)])
            continue
        figures = result["figures"][name]
        goal = result["goals"].get(name, "")
        if goal and figures["reached"] is not None:
            goal += " (reached)" if figures["reached"] else " (missed)"
        lines.append(
            [
                name,
                seconds_text(figures["seconds"]),
                str(figures["threads"] or "own"),
                *([_ratio(figures["over_bare"])] if bare else []),
                _ratio(figures["over_ours"]),
                goal,
            ]
        )
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "".join(f"\n{note[0].upper()}{note[1:]}.\n" for note in result["notes"])
    return f"### {result['title']}\n\n{rows}\n{notes}"


def _process(figure: Mapping[str, Any]) -> str:
    value = "not measured" if figure["value"] is None else f"{figure['value']:.3g} {figure['unit']}"
    aim = f"{figure['goal']:.3g} {figure['unit']}"
    return f"- {figure['what']}: {value} ({figure['detail']}; aim: at most {aim})"


def seconds_text(seconds: float) -> str:
    """Seconds to three digits."""
    return f"{seconds:.3g}" if seconds < 10 else f"{seconds:.1f}"


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:.3f}" if abs(ratio - 1) < 0.005 else f"{ratio:.2f}"


def from_results() -> str:
    """The page of the results that are there."""
    content = json.loads((RESULTS / "bench-cpu.json").read_text(encoding="utf-8"))
    return page(content, sorted(path.name for path in RESULTS.glob("*gpu*.json")))


if __name__ == "__main__":
    PAGE.write_text(from_results(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
