"""The network: layers, activations, losses, and backpropagation through them.

Read `layer`, `losses` and `network` in that order. Nothing here knows data, training or speed: this
is the definition, which `arraymlp.engines` computes faster and every test compares with.
"""
