"""The lab's dead run, diagnosed: which layer died, at which step, and what that did."""

import arraymlp

run = arraymlp.train(preset="lab", activation="relu", learning_rate=0.05, epochs=5)
for finding in run.findings:
    print(f"{finding.kind}: {finding.sentence}\n")

dead = next(f for f in run.findings if f.kind == "dead_units")
assert dead.figures["dead"] == dead.figures["units"] == 100
assert dead.layer == 1
assert dead.from_step is not None
assert dead.from_step < 600
