"""The engine for NumPy: reused buffers, and products by NumPy's own BLAS, a block a thread."""
