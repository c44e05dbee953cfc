"""The time that each part of an epoch takes: `train(profile=True)`.

    ============ ==================================================================================
    products     matrix products of the steps
    elementwise  the rest of the steps: biases, activations, losses, sums, updates
    gather       taking minibatches out of the data, and reading them where they are on disk
    evaluation   the figures of an epoch's end, and the one transfer from the device
    host         everything else: orders and rates, Python's loop, callbacks, the check of an engine
    ============ ==================================================================================

To tell these apart the host waits for the device after each. What would have run side by side then
does not, and so a profiled epoch on a GPU takes longer than others.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Generic, ParamSpec, TypeVar, cast

from arraymlp.backends.array import Array, Namespace
from arraymlp.backends.backend import Backend

P = ParamSpec("P")
R = TypeVar("R")
Item = TypeVar("Item")

PARTS = ("products", "elementwise", "gather", "evaluation", "host")


@dataclass
class Profile:
    """Seconds by part, over the epochs of one call of `train`.

    Attributes:
        backend: the backend that the host waits for.
        seconds: of each part: "products" (matrix products of the steps), "elementwise" (the rest of
            the steps), "gather" (taking minibatches out of the data), "evaluation" (the figures of
            an epoch's end) and "host" (everything else).
        epochs: the number of epochs.
        steps: the number of steps.
    """

    backend: Backend = field(repr=False)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    epochs: int = 0
    steps: int = 0

    @property
    def total(self) -> float:
        """Seconds of all parts together."""
        return sum(self.seconds.values())

    def __str__(self) -> str:
        lines = [f"{self.epochs} epochs, {self.steps} steps, {self.total:.3f} s on {self.backend}"]
        for part, seconds in self.seconds.items():
            share = seconds / self.total if self.total else 0.0
            lines.append(f"  {part:12}{seconds:9.3f} s{share:7.1%}")
        return "\n".join(lines)

    def timed(self, part: str, function: Callable[P, R]) -> "Timed[P, R]":
        """Return the function, with its time counted for a part."""
        return Timed(self, part, function)

    def stepping(self, step: Callable[P, R]) -> Callable[P, R]:
        """Return the step, with its time but for its products counted as elementwise."""

        def timed_step(*args: P.args, **kwargs: P.kwargs) -> R:
            products = self.seconds["products"]
            started = perf_counter()
            result = step(*args, **kwargs)
            self.backend.wait()
            self.steps += 1
            elapsed = perf_counter() - started
            self.seconds["elementwise"] += elapsed - (self.seconds["products"] - products)
            return result

        return timed_step

    def gathered(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Yield the minibatches, with the time to make each counted as gather."""
        iterator = iter(batches)
        following = self.timed("gather", lambda: next(iterator, None))
        while (batch := following()) is not None:
            yield batch

    def ended(self, epoch: float, before: float) -> None:
        """Count an epoch of so many seconds, before which the total was ``before``."""
        self.epochs += 1
        self.seconds["host"] += max(0.0, epoch - (self.total - before))


class Timed(Generic[P, R]):
    """A function whose time is counted; it has the function's attributes."""

    def __init__(self, profile: Profile, part: str, function: Callable[P, R]) -> None:
        self._profile, self._part, self._function = profile, part, function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, and wait for the device."""
        self._profile.backend.wait()  # for what was queued before, which is not its own
        started = perf_counter()
        result = self._function(*args, **kwargs)
        self._profile.backend.wait(cast(Array, result))  # JAX waits for nests of arrays, too
        self._profile.seconds[self._part] += perf_counter() - started
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


class TimedNamespace:
    """A namespace whose ``matmul`` counts as a product."""

    def __init__(self, profile: Profile, xp: Namespace) -> None:
        self._xp = xp
        self.matmul = profile.timed("products", xp.matmul)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)
