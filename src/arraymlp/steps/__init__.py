"""One step of learning: what it is told, gradients, updates, and how the rate changes.

Read `gradient` and `update`, of which `step` makes the training step.
"""
