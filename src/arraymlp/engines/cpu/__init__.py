"""NumPy's engine: reused buffers, and products by NumPy's own BLAS with one block a thread."""
