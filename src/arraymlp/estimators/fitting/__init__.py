"""What a fit does besides training: scikit-learn's rows, stopping rules, callbacks, and L-BFGS."""
