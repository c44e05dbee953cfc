"""One step of learning: its gradients and its update, its constants, and the learning rate.

Read `gradient` and `update` first; `step` makes the training step of them.
"""
