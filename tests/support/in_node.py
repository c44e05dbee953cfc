"""What the JavaScript of a page predicts, in Node.js, which is quicker to start than a browser."""

import json
import re
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest

from arraymlp.backends.array import HostArray
from arraymlp.pages.columns import columns_of
from arraymlp.pages.playground import playground, source
from arraymlp.pages.subject import Model, subject_of

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
# Numbers that JSON lacks are texts.
RUN = """
const { content, blob, rows, stop } = JSON.parse(require("fs").readFileSync(0));
const model = content.models[0];
const number = (v) => (v === null ? NaN : v);
const told = (v) => (Number.isFinite(v) ? v : String(v));
(async () => {
  const block = await inflated(blob);
  const stacks = model.stacks.map((stack) => snapshotsOf(stack, block));
  const networks = stacks.flatMap((snapshots) => snapshots.at(stop));
  const all = rows.map((row) =>
    ensemble(networks, Float64Array.from(row, number), content.columns, model.classes));
  const weights = networks.map(({ layers }) => layers.map((layer) =>
    [Array.from(layer.weights, told), Array.from(layer.bias, told)]));
  const out = all.map(({ mean, spread }) => [Array.from(mean, told), Array.from(spread, told)]);
  process.stdout.write(JSON.stringify({ out, weights }));
})();
"""


def data_of(html: str) -> tuple[dict[str, Any], list[str]]:
    """A page's content and its blocks, the examples' first."""
    found = re.findall(r'<script type="[a-z/]+" id="amp-(\w+|data-\d+)">([^<]*)</script>', html)
    parts = dict(found)
    content = json.loads(parts.pop("content"))
    return content, list(parts.values())


def in_node(model: Model, cells: Any, stop: int = -1) -> tuple[HostArray, HostArray]:
    """The mean prediction and its spread, each (N, n), of rows of a page (N, n_columns)."""
    out = _run(model, cells, stop)["out"]
    mean, spread = (np.array([[float(v) for v in row[i]] for row in out]) for i in (0, 1))
    return mean, spread


def weights_in_node(model: Model, stop: int) -> list[list[tuple[HostArray, HostArray]]]:
    """Each network's weights and biases, flat, as the page has them after a snapshot."""
    floats = [
        [tuple(np.array([float(v) for v in part]) for part in layer) for layer in network]
        for network in _run(model, [], stop)["weights"]
    ]
    return floats  # type: ignore[return-value]


def _run(model: Model, cells: Any, stop: int) -> Any:
    content, blobs = data_of(playground({"": model}))
    content["columns"] = [column.to_dict() for column in columns_of(subject_of(model))]
    rows = [[None if v != v else v for v in row] for row in np.asarray(cells, float).tolist()]
    given = json.dumps({"content": content, "blob": blobs[1], "rows": rows, "stop": stop})
    script = "\n".join([source("forward.js"), source("encode.js"), source("decode.js"), RUN])
    done = subprocess.run(
        ["node", "-e", script], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
