"""Learn a surface from noisy points, stop early, and plot how it went."""

import numpy as np

import arraymlp

rng = np.random.default_rng(0)
X = rng.uniform(-3, 3, (2000, 2))
y = X[:, 1] * np.sin(X[:, 0]) + rng.normal(0, 0.1, 2000)

run = arraymlp.train(
    X,
    y,
    optimizer="adam",
    learning_rate=0.01,
    epochs=200,
    validation=0.2,  # hold out a fifth of the rows
    early_stopping=True,  # 10 epochs without a better validation_loss: back to the best weights
    metrics=["r2"],
)
r2 = run.history[run.best_epoch]["validation_r2"]
print(f"R2 {r2:.3f} after {run.best_epoch + 1} of {len(run.history)} epochs")
run.history.plot()[0].figure.savefig("regression.png")

assert r2 > 0.98
