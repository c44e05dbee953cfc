"""One training run: its settings, its set-up, the loop, what it records and keeps.

`train_function` has `train`; `loop` the epochs; `engine` decides who does a step.
"""
