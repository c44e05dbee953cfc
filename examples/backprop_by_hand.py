"""One training step by hand: forward, loss, backward, update, with the library's own pieces."""

import numpy as np

from arraymlp import MultilayerPerceptron, resolve
from arraymlp.datasets import load_mnist

mnist = load_mnist()
X, y = mnist.X_train[:1000], mnist.y_train[:1000]
network = MultilayerPerceptron.create([784, 30, 10], activation="tanh", backend=resolve("numpy"))

losses = []
for _ in range(50):
    passes = network.forward(X)  # of each layer: its input x, sums s = x W + b, outputs z = f(s)
    logits = passes[-1].z
    value, delta = network.loss(logits, y)  # cross-entropy, and dL/dlogits = softmax(logits) - y
    gradients = network.backward(passes, delta / len(X))
    for layer, gradient in zip(network.layers, gradients, strict=True):
        layer.weights -= 0.5 * gradient.weights
        layer.bias -= 0.5 * gradient.bias
    losses.append(np.asarray(value).mean())

print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, {np.mean(network.predict(X) == y):.1%} right")
assert losses[-1] < losses[0] / 5
