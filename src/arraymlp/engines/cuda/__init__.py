"""CuPy's engine: CUDA kernels (``fused.cu``, ``dense.cuh``), launched, and replayed as graphs."""
