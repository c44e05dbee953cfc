"""``cupy.cuda.runtime``: constants, errors, and what is known of the devices."""

from typing import Any

from cupy import _state
from cupy._errors import CUDARuntimeError

CUDA_R_32F, CUDA_R_64F, CUDA_R_16F, CUDA_R_16BF = 0, 1, 2, 14
streamCaptureModeGlobal, streamCaptureModeThreadLocal, streamCaptureModeRelaxed = 0, 1, 2  # noqa: N816
cudaDevAttrMultiProcessorCount = 16  # noqa: N816
cudaDevAttrMaxSharedMemoryPerBlockOptin = 97  # noqa: N816


def getDeviceCount() -> int:  # noqa: N802
    return _state.DEVICES


def getDevice() -> int:  # noqa: N802
    return _state.device()


def setDevice(device: int) -> None:  # noqa: N802
    if not 0 <= device < _state.DEVICES:
        raise CUDARuntimeError(101)
    _state.set_device(device)


def getDeviceProperties(device: int) -> dict[str, Any]:  # noqa: N802
    return {
        "name": _state.NAME.encode(),
        "major": _state.COMPUTE_CAPABILITY // 10,
        "minor": _state.COMPUTE_CAPABILITY % 10,
        "multiProcessorCount": _state.ATTRIBUTES["MultiProcessorCount"],
        "totalGlobalMem": _state.TOTAL_MEMORY,
    }


def deviceGetPCIBusId(device: int) -> str:  # noqa: N802
    return f"0000:{device:02x}:00.0"


def memGetInfo() -> tuple[int, int]:  # noqa: N802
    from cupy._memory import POOLS

    return _state.TOTAL_MEMORY - POOLS[_state.device()].kept, _state.TOTAL_MEMORY


def driverGetVersion() -> int:  # noqa: N802
    return 13000


def runtimeGetVersion() -> int:  # noqa: N802
    return 13000


def deviceSynchronize() -> None:  # noqa: N802
    from cupy.cuda.stream import synchronize_all

    synchronize_all()
