"""Tables as plain Python values, so that two of them compare."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraymlp.data.files.table_files import open_table
from arraymlp.data.frames.frame import Frame, Texts


def plain(frame: Frame) -> dict[str, Any]:
    """Each column as (dtype, values); NaN and NaT as None."""
    return {n: _plain(c) for n, c in zip(frame.names, frame.columns, strict=True)}


def _plain(column: Any) -> tuple[str, list[Any]]:
    if isinstance(column, Texts):
        assert column.codes.dtype == np.int32
        assert len(set(column.values)) == len(column.values)
        return "text", column.to_numpy().tolist()
    missing = np.isnat(column) if column.dtype.kind == "M" else column != column
    values = [None if m else v for v, m in zip(column.tolist(), missing.tolist(), strict=True)]
    return column.dtype.name, [repr(v) if isinstance(v, float) else v for v in values]


def read_alike(path: Path, **how: Any) -> dict[str, Any] | str:
    """What a file is, whole, by blocks, and again; or what is said against it."""
    said: str | None = None
    try:
        table = open_table(path, **how)
        whole = plain(table.read())
    except ValueError as error:
        said = str(error)
    if said is not None:
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: ") as again:
            list(open_table(path, **how).blocks(2))
        assert str(again.value) == said
        return said
    for again in (table, open_table(path, **how)):
        blocks = [plain(block) for block in again.blocks(2)]
        for name, (dtype, values) in whole.items():
            assert [block[name][0] for block in blocks] == [dtype] * len(blocks)
            assert [v for block in blocks for v in block[name][1]] == values
    kinds = {"text": "text", "int64": "integer", "float64": "number"}
    if not how:
        assert {n: kinds[dtype] for n, (dtype, _) in whole.items()} == table.kinds()
    return whole
