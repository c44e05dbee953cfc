"""The definition's steps once more, faster: deleting this room changes speed only.

``cpu`` is NumPy in reused buffers, with BLAS called directly; ``cuda`` is CUDA kernels and cuBLAS.
(Products below float32 on CuPy are the engine's alone.)

Each engine is a module ``engine`` with ``load() -> Engine``; see `arraymlp.steps.step.Engine`.
`arraymlp.training.engine` chooses between them and the definition.
"""
