"""JAX, on the CPU, a GPU or a TPU."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module

from arraymlp.backends.array import Array, Device, HostArray
from arraymlp.backends.backend import Backend, NoSuchDeviceError, device_number

PLATFORMS = ("cpu", "gpu", "cuda", "rocm", "tpu", "METAL")


@dataclass(frozen=True)
class JaxBackend(Backend):
    """JAX on one device."""

    _lacks_dtype = 'jax.config.update("jax_enable_x64", True) or JAX_ENABLE_X64=1 turns it on'

    @property
    def is_accelerator(self) -> bool:
        """True for any device but the CPU."""
        return bool(self.device.platform != "cpu")

    @property
    def compute_capability(self) -> float:
        """The CUDA device's, such as 9.0; 0 for any other device."""
        on_gpu = self.device.platform == "gpu"
        return float(self.device.compute_capability) if on_gpu else 0.0

    @property
    def rounded_precisions(self) -> tuple[str, ...]:
        """TF32, by a setting of JAX's."""
        return ("tf32",)

    def active(self) -> AbstractContextManager[object]:
        """Context in which JAX is kept from using TF32."""
        return self._products_in("highest")

    def rounding(self) -> AbstractContextManager[object]:
        """Context in which products on CUDA round their factors to TF32."""
        return self._products_in("tensorfloat32")

    def _products_in(self, precision: str) -> AbstractContextManager[object]:
        precise: Callable[[str], AbstractContextManager[object]]
        precise = import_module("jax").default_matmul_precision
        return precise(precision)

    def memory(self) -> tuple[int, int] | None:
        """The device's memory in bytes, (free, total), where JAX knows it."""
        stats = self.device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        total = int(stats["bytes_limit"])
        return total - int(stats["bytes_in_use"]), total

    def wait(self, result: Array | None = None) -> None:
        """Wait until the result is there."""
        if result is not None:
            import_module("jax").block_until_ready(result)

    def uploader(self) -> Callable[[HostArray], Array]:
        """Copies nothing yet: JAX's 64 bits may be a setting of the thread that computes."""
        return lambda host: host


def load(device: Device) -> Backend:
    """JAX on a device: None for its default, "cpu", "gpu:1", or JAX's own object."""
    jax = import_module("jax")
    if hasattr(device, "device_set"):
        raise NoSuchDeviceError(f"arrays sharded over devices are not supported: {device}")
    if device is None:
        (device,) = jax.numpy.zeros(()).devices()  # the default device, as JAX is configured
    if not isinstance(device, jax.Device):
        platform, _, number = str(device).partition(":")
        if platform not in PLATFORMS:
            raise NoSuchDeviceError(f"JAX knows no device {device!r}; give 'cpu' or 'gpu:1'")
        index = device_number(number or None, (), "JAX")
        devices = jax.devices("gpu" if platform == "cuda" else platform)
        if index >= len(devices):
            raise RuntimeError(f"there is no JAX device {device}: {len(devices)} found")
        device = devices[index]
    return JaxBackend("jax", import_module("jax.numpy"), device, jax.__version__)
