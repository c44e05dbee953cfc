"""``cupy.cuda.driver``: its errors, and how many blocks run at once."""

from cupy._errors import CUDADriverError

__all__ = ["CUDADriverError", "occupancyMaxActiveBlocksPerMultiprocessor"]


def occupancyMaxActiveBlocksPerMultiprocessor(  # noqa: N802
    func: int, blockSize: int, dynamicSMemSize: int
) -> int:
    """The blocks of a kernel that a multiprocessor has at once."""
    from cupy._raw import active_blocks

    return active_blocks(blockSize, dynamicSMemSize)
