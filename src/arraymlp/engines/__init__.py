"""The definition's steps once more, compiled: deleting this room changes speed only.

Each engine is a module ``engine`` with ``load() -> Engine``; see `arraymlp.steps.step.Engine`.
`arraymlp.training.engine` chooses between them and the definition.
"""
