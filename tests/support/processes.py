"""Fresh interpreters, and what they import."""

import subprocess
import sys

OPTIONAL = {
    "cupy",
    "torch",
    "jax",
    "sklearn",
    "matplotlib",
    "rich",
    "typer",
    "safetensors",
    "scipy",
    "pandas",
    "tensorboard",
    "h5py",
    "array_api_strict",
}


def modules_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has imported after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())
