"""Model files taken apart and put together again, by the words of their format and no code of it.

A safetensors file whose metadata has the header as JSON under ``arraymlp``. Its ``sha256`` is that
of a canonical JSON text, of the rest of the header and the names, dtypes and shapes of the tensors,
and of the tensors' bytes after it. In format 1 it was that of these bytes alone.
"""

import json
from hashlib import sha256
from typing import Any

import numpy as np
from safetensors.numpy import load as tensors_of
from safetensors.numpy import save as to_bytes

Header = dict[str, Any]
Tensors = dict[str, np.ndarray]


def apart(content: bytes) -> tuple[Header, Tensors]:
    """A good file's header and tensors."""
    entries = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(entries["__metadata__"]["arraymlp"]), tensors_of(content)


def digest(header: Header, tensors: Tensors) -> str:
    about = {
        "header": {name: value for name, value in header.items() if name != "sha256"},
        "tensors": [[name, str(t.dtype), list(t.shape)] for name, t in sorted(tensors.items())],
    }
    if header.get("format") == 1:
        return sha256(b"".join(tensors[name].tobytes() for name in sorted(tensors))).hexdigest()
    text = json.dumps(about, sort_keys=True, separators=(",", ":"))
    return sha256(
        text.encode() + b"".join(t.tobytes() for _, t in sorted(tensors.items()))
    ).hexdigest()


def sealed(header: Header, tensors: Tensors) -> bytes:
    """A file of them, its SHA-256 made right, as one who means to deceive would make it."""
    header = {**header, "sha256": digest(header, tensors)}
    return to_bytes(tensors, {"arraymlp": json.dumps(header)})
