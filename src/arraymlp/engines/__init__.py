"""The same steps as the definition's, compiled or buffered: deleting this room changes speed alone.

Each engine is a module ``engine`` with ``load() -> Engine``; see `arraymlp.steps.step.Engine`.
`arraymlp.training.engine` chooses.
"""
