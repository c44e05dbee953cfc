"""Train on the bundled MNIST with the default settings: 20 epochs, three seeds, 98 % and more."""

from statistics import median

import arraymlp

accuracies = []
for seed in range(3):
    network, history = arraymlp.train(seed=seed)
    accuracies.append(100 * (1 - history[-1]["validation_error"]))
    print(f"seed {seed}: {accuracies[-1]:.2f} % of the test images after {len(history)} epochs")

assert median(accuracies) >= 98.0, accuracies
