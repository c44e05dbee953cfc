"""Prediction intervals: one network that learns three quantiles at once."""

import numpy as np

import arraymlp

rng = np.random.default_rng(2)


def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
    """A curve whose noise grows from left to right."""
    x = rng.uniform(0, 10, (n, 1))
    return x, np.sin(x[:, 0]) + rng.normal(0, 0.05 + 0.05 * x[:, 0])


X, y = draw(6000)
run = arraymlp.train(
    X / 10,
    y,
    loss=arraymlp.losses.Quantile((0.1, 0.5, 0.9)),
    optimizer="adam",
    learning_rate=0.01,
    schedule="cosine",
    weight_average=0.999,
    epochs=60,
    validation=0.2,
)

X_new, y_new = draw(4000)
low, middle, high = np.asarray(run.network.predict(X_new / 10)).T
inside = np.mean((low <= y_new) & (y_new <= high))
left, right = (high - low)[X_new[:, 0] < 2].mean(), (high - low)[X_new[:, 0] > 8].mean()
print(f"{inside:.1%} of new points inside the 80 % interval; width {left:.2f} to {right:.2f}")

assert 0.77 < inside < 0.83
assert right > 2.5 * left  # it has seen that the noise grows
assert np.all(low <= middle)
assert np.all(middle <= high)
