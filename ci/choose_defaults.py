"""Choose train()'s default optimiser and learning rate on a split of MNIST's training data.

The test set is not touched: 10,000 of the 60,000 training rows are held out. For each setting the
validation error after 20 epochs is printed, the median over seeds. About five minutes on one core.
"""

import argparse
from statistics import median

from arraymlp import train
from arraymlp.datasets import load_mnist

GRID = [
    *(("sgd", rate) for rate in (0.05, 0.1, 0.2, 0.4)),
    *(("momentum", rate) for rate in (0.01, 0.02, 0.05, 0.1)),
    *(("nesterov", rate) for rate in (0.02, 0.05, 0.1)),
]


def main() -> None:
    """Print a line for each setting, then the best."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=100)
    options = parser.parse_args()
    mnist = load_mnist()
    errors = {}
    for optimizer, rate in GRID:
        by_seed = [
            train(
                mnist.X_train,
                mnist.y_train,
                optimizer=optimizer,
                learning_rate=rate,
                batch_size=options.batch_size,
                validation=1 / 6,
                seed=seed,
            ).history[-1]["validation_error"]
            for seed in range(options.seeds)
        ]
        errors[optimizer, rate] = median(by_seed)
        print(
            f"{optimizer:9} {rate:<5} {100 * median(by_seed):.2f} %"
            f"  ({', '.join(f'{100 * e:.2f}' for e in by_seed)})",
            flush=True,
        )
    best = min(errors, key=lambda key: errors[key])
    print(f"best: {best[0]} {best[1]}, validation error {100 * errors[best]:.2f} %")


if __name__ == "__main__":
    main()
