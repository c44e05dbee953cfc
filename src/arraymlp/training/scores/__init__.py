"""How good predictions are, in the figures that one reads: accuracy, confusions, R2 and the like.

Computed on the host, of predictions as the user gets them; `arraymlp.nn.metrics` computes the
figures of each epoch on the device, of logits.
"""
