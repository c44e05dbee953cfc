"""Forty-eight networks trained together: which settings are best, and what the best five know."""

import numpy as np

import arraymlp

rng = np.random.default_rng(0)
X = rng.normal(size=(1500, 6))
y = (np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] > 0).astype(int)

result = arraymlp.sweep(
    X[:1000],
    y[:1000],
    learning_rate=[0.001, 0.003, 0.01],
    weight_decay=[0, 0.1],
    hidden=[(64,), (32, 32)],  # a tuple is one value, a list is swept
    seed=range(4),
    epochs=30,
    validation=0.2,
    early_stopping=True,  # each network on its own
)
for row in result.rank()[:3]:  # mean and spread over the seeds
    print(row)
p, spread = result.ensemble(top=5).predict_proba(X[1000:], return_std=True)
sure = spread.max(axis=1) < 0.05  # the five agree
right = p.argmax(axis=1) == y[1000:]
print(f"right: {right.mean():.3f} of all, {right[sure].mean():.3f} where they agree")

assert len(result) == 48
assert result.rank()[0]["failed"] == 0
assert right[sure].mean() > right.mean() > 0.85
