"""``cupy.cuda.memory``."""

from cupy._memory import MemoryPointer, MemoryPool, OutOfMemoryError

__all__ = ["MemoryPointer", "MemoryPool", "OutOfMemoryError"]

OutOfMemoryError.__module__ = __name__
