"""The lab, by the engine and by the definition: everything but its report."""

from functools import partial

import numpy as np

from arraymlp.app.lab.training import run_lab
from benchmarks.rounds import (
    ARRAY,
    OURS,
    Candidate,
    Goal,
    Plan,
    Result,
    blas_threads,
    measure,
    timed,
)

EPOCHS = 7  # of 70, which take ten times as long


def case_lab(plan: Plan) -> list[Result]:
    """The five runs with probes, training error and evaluation, as `arraymlp lab` trains them."""
    epochs = max(1, int(EPOCHS * plan.part))
    errors: dict[str, list[float]] = {}

    def lab(name: str, engine: str, epochs: int) -> None:
        result = run_lab(backend="numpy", epochs=epochs, engine=engine)
        errors[name] = [r.run.history["training_error"][0] for r in result.runs]

    work = {
        name: Candidate(
            timed(partial(lab, name, engine, epochs)),
            blas_threads,
            timed(partial(lab, name, engine, 1)),
        )
        for name, engine in ((OURS, "auto"), (ARRAY, "array"))
    }
    title = f"the lab's five runs, {epochs} of 70 epochs: all of it"
    result = Result("lab", title, 5 * epochs * 60_000, goals={ARRAY: Goal(OURS, 3.0)})
    measure(result, work, plan.share(2))
    apart = np.max(np.abs(np.subtract(errors[OURS], errors[ARRAY])))
    result.notes.append(f"training errors after the first epoch differ by at most {apart:.0e}")
    return [result]
