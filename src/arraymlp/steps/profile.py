"""Where an epoch's time goes: what `train(profile=True)` measures.

    ============ ==================================================================================
    products     matrix products of the steps
    elementwise  the rest of the steps: biases, activations, losses, sums, updates
    gather       taking minibatches out of the data, and reading them where they are on a disk
    evaluation   the figures of an epoch's end, and the one transfer from the device
    host         everything else: orders and rates drawn up, Python's loop, callbacks
    ============ ==================================================================================

To tell these apart the host waits for the device after each; what would have run side by side does
not, and so a profiled epoch on a GPU takes longer than others.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from arraymlp.backends.backend import Backend

PARTS = ("products", "elementwise", "gather", "evaluation", "host")


@dataclass
class Profile:
    """Seconds by part, over the epochs of one call of `train`.

    Attributes:
        backend: where.
        seconds: of each part, as in the module's table.
        epochs: how many.
        steps: how many.
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

    def timed(self, part: str, do: Callable[..., Any]) -> "Timed":
        """The same function, whose time counts for a part."""
        return Timed(self, part, do)

    def stepping(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The same step, whose time without its products is elementwise."""

        def timed_step(*args: Any) -> Any:
            products = self.seconds["products"]
            started = perf_counter()
            found = step(*args)
            self.backend.wait()
            self.steps += 1
            own = perf_counter() - started - (self.seconds["products"] - products)
            self.seconds["elementwise"] += own
            return found

        return timed_step

    def gathered(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The same minibatches, whose making counts as gathering."""
        iterator = iter(batches)
        following = self.timed("gather", lambda: next(iterator, None))
        while (batch := following()) is not None:
            yield batch

    def ended(self, epoch: float, before: float) -> None:
        """An epoch of so many seconds is over, before which the total was ``before``."""
        self.epochs += 1
        self.seconds["host"] += max(0.0, epoch - (self.total - before))


class Timed:
    """A function whose time counts; it has the function's attributes."""

    def __init__(self, profile: Profile, part: str, do: Callable[..., Any]) -> None:
        self._profile, self._part, self._do = profile, part, do

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call it, and wait for the device."""
        self._profile.backend.wait()  # what was queued before is not its own
        started = perf_counter()
        found = self._do(*args, **named)
        self._profile.backend.wait(found)
        self._profile.seconds[self._part] += perf_counter() - started
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._do, name)


class TimedNamespace:
    """A namespace whose ``matmul`` counts as a product."""

    def __init__(self, profile: Profile, xp: Any) -> None:
        self._xp = xp
        self.matmul = profile.timed("products", xp.matmul)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)
