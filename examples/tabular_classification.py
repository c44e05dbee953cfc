"""A table with numbers and a category, and a rare class: weights, regularisation, metrics."""

import numpy as np

import arraymlp

# 6,000 loans: amount, income, age and one of four regions; one in 20 is not paid back.
rng = np.random.default_rng(1)
amount, income = rng.lognormal(9, 0.6, 6000), rng.lognormal(10, 0.4, 6000)
age, region = rng.uniform(18, 75, 6000), rng.integers(0, 4, 6000)
risk = 2 * np.log(amount / income) + np.abs(age - 45) / 15 + np.asarray([0, 0.5, 1, 1.5])[region]
y = (risk + rng.logistic(0, 0.7, 6000) > 3.1).astype(int)

numbers = np.stack([np.log(amount), np.log(income), age], axis=1)
numbers = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)  # networks want like scales
X = np.concatenate([numbers, np.eye(4)[region]], axis=1)

runs = {}
for class_weight in (None, "balanced"):
    runs[class_weight] = arraymlp.train(
        X[:4000],
        y[:4000],
        hidden=(32, 32),
        optimizer="adamw",
        learning_rate=0.003,
        schedule="cosine",
        dropout=0.1,
        class_weight=class_weight,
        epochs=30,
        validation=(X[4000:], y[4000:]),
        metrics=["balanced_accuracy", "roc_auc", "f1"],
    )
    last = runs[class_weight].history[-1]
    figures = ", ".join(f"{name} {last['validation_' + name]:.3f}" for name in ("f1", "roc_auc"))
    print(f"class_weight {class_weight}: {figures}", end="; ")
    print(f"balanced accuracy {last['validation_balanced_accuracy']:.3f}")

plain, weighted = (run.history[-1] for run in runs.values())
assert plain["validation_roc_auc"] > 0.9
assert weighted["validation_balanced_accuracy"] > plain["validation_balanced_accuracy"] + 0.05
