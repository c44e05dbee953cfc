"""A callback of one's own: watch every step, read the losses once an epoch, and stop."""

from typing import Any

import arraymlp


class StepLosses(arraymlp.callbacks.Callback):
    """Keeps the loss of every step, and stops when the last 100 of an epoch are below a target.

    The losses stay on the device until the epoch ends, so that no step waits for one.
    """

    def __init__(self, target: float) -> None:
        self.target = target
        self.pending: list[Any] = []
        self.losses: list[float] = []

    def on_step(self, event: arraymlp.callbacks.StepEnd) -> None:
        """Called after each step."""
        self.pending.append(event.loss)

    def __call__(self, event: arraymlp.callbacks.EpochEnd) -> bool:
        """Called after each epoch; True stops."""
        self.losses += [float(loss) for loss in event.network.backend.fetch(self.pending)]
        self.pending = []
        return sum(self.losses[-100:]) / 100 < self.target


watch = StepLosses(target=0.1)
stop = arraymlp.callbacks.StopAt("validation_error", below=0.01)
run = arraymlp.train(epochs=10, callbacks=[watch, stop])
print(
    f"{len(watch.losses)} steps in {len(run.history)} epochs, loss {watch.losses[0]:.2f} at first"
)

assert len(watch.losses) == run.history[-1]["step"]
assert 1 < len(run.history) < 10
