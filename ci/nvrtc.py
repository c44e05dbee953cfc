"""Compile the CUDA kernels with NVRTC as CuPy does on the user's machine; called by ci/kernels.

NVRTC has no headers and a preprocessor of its own, so a file that nvcc compiles can still fail
there. It needs no GPU. Of the kernels that are made of one template it compiles one: nvcc compiles
all.
"""

import ctypes
import re
import sys
from importlib.metadata import files, version
from importlib.resources import files as resources
from time import perf_counter

from arraymlp.engines.cuda.source import source

OPTIONS = ("--std=c++17", "-ftz=true", "--device-as-default-execution-space")
ARCHITECTURES = ("sm_75", "sm_90", "sm_120")  # the oldest, one that has clusters, the newest
PACKAGE = "nvidia-cuda-nvrtc"


def library() -> ctypes.CDLL:
    """NVRTC, from NVIDIA's wheel."""
    libraries = [f for f in files(PACKAGE) or [] if f.name.startswith("libnvrtc.so")]
    return ctypes.CDLL(str(libraries[0].locate()))


def shortened(text: str) -> str:
    """A kernel file's text with one kernel of those that differ by a number alone."""
    kernels = re.findall(r"defined\(ONLY_(\w+)\)", text)
    kinds = {re.sub(r"_\d+(x\d+)?$", "", kernel): kernel for kernel in reversed(kernels)}
    return (
        "".join(f"#define {name}\n" for name in ("ONLY", *map("ONLY_{}".format, kinds.values())))
        + text
    )


def complaint(nvrtc: ctypes.CDLL, name: str, arch: str) -> str:
    """NVRTC's errors and warnings on a kernel file; "" if there are none."""
    program = ctypes.c_void_p()
    text = shortened(source(name)).encode()
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, name.encode(), 0, None, None):
        return "nvrtcCreateProgram failed"
    options = [option.encode() for option in (*OPTIONS, f"--gpu-architecture={arch}")]
    array = (ctypes.c_char_p * len(options))(*options)
    status = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    messages = log.value.decode().strip()
    return messages if status == 0 else messages or f"status {status}"


def main() -> int:
    """Compile all files; an error or a warning is printed, and the status is 1."""
    nvrtc, failed = library(), False
    folder = resources("arraymlp.engines.cuda")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".cu"))
    for name in names:
        for arch in ARCHITECTURES:
            started = perf_counter()
            text = complaint(nvrtc, name, arch)
            seconds = perf_counter() - started
            print(f"{name:20} {arch} {'FAILED' if text else f'{seconds:.1f} s'}")
            if text:
                print(text, file=sys.stderr)
                failed = True
    if not names:
        print("ci/nvrtc.py: no kernel file found", file=sys.stderr)
    else:
        print(f"{len(names)} files compiled by NVRTC {version(PACKAGE)}, which CuPy compiles with")
    return int(failed or not names)


if __name__ == "__main__":
    sys.exit(main())
