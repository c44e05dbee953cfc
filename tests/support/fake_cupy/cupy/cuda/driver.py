"""``cupy.cuda.driver``: how many blocks fit, and the error of a launch."""

from cupy import _state
from cupy._errors import CUDADriverError

__all__ = ["CUDADriverError", "occupancyMaxActiveBlocksPerMultiprocessor"]


def occupancyMaxActiveBlocksPerMultiprocessor(  # noqa: N802 - CuPy's name
    func: int, block_size: int, dynamic_smem_size: int
) -> int:
    """Blocks of a function that a multiprocessor runs at once; registers are not counted."""
    if not func:
        raise CUDADriverError("CUDA_ERROR_INVALID_HANDLE: invalid resource handle")
    room = _state.ATTRIBUTES["MaxSharedMemoryPerBlockOptin"]
    return min(2048 // block_size, room // max(dynamic_smem_size, 1))
