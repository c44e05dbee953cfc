"""What the JavaScript of a page predicts: in Chromium where it is, else in Node.js."""

import json
import re
import shutil
import subprocess
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.pages.columns import columns_of
from arraymlp.pages.playground import playground, source
from arraymlp.pages.subject import subject_of
from arraymlp.training.with_page import WithPage
from browser import absent, the_browser

FILES = ("forward.js", "encode.js", "decode.js")
# Numbers that JSON lacks are texts.
RUN = """
const { content, blob, rows, stop } = given;
const model = content.models[0];
const number = (v) => (v === null ? NaN : v);
const told = (v) => (Number.isFinite(v) ? v : String(v));
const block = await inflated(blob);
const stacks = model.stacks.map((stack) => snapshotsOf(stack, block));
const networks = stacks.flatMap((snapshots) => snapshots.at(stop));
const all = rows.map((row) =>
  ensemble(networks, Float64Array.from(row, number), content.columns, model.classes));
const weights = networks.map(({ layers }) => layers.map((layer) =>
  [Array.from(layer.weights, told), Array.from(layer.bias, told)]));
const out = all.map(({ mean, spread }) => [Array.from(mean, told), Array.from(spread, told)]);
return { out, weights };
"""
IN_NODE = """
const given = JSON.parse(require("fs").readFileSync(0));
(async () => {%s})().then((found) => process.stdout.write(JSON.stringify(found)));
"""
IN_BROWSER = """
const [given, done] = arguments;
(async () => {%s})().then(done, (error) => done(String(error)));
"""


def evaluated(code: str, given: Any) -> Any:
    """What the body of an asynchronous function returns, which has ``given``."""
    if not absent() or shutil.which("node") is None:
        browser = the_browser()
        browser.get("about:blank")  # a page of another test may lack something
        found = browser.execute_async_script(IN_BROWSER % code, given)
        assert not isinstance(found, str), found
        return found
    done = subprocess.run(
        ["node", "-e", IN_NODE % code], input=json.dumps(given), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def data_of(html: str) -> tuple[dict[str, Any], list[str]]:
    """A page's content and its blocks, the examples' first."""
    found = re.findall(r'<script type="[a-z/]+" id="amp-(\w+|data-\d+)">([^<]*)</script>', html)
    parts = dict(found)
    content = json.loads(parts.pop("content"))
    return content, list(parts.values())


def in_javascript(model: WithPage, cells: Any, stop: int = -1) -> tuple[HostArray, HostArray]:
    """The mean prediction and its spread, each (N, n), of rows of a page (N, n_columns)."""
    out = _run(model, cells, stop)["out"]
    mean, spread = (np.array([[float(v) for v in row[i]] for row in out]) for i in (0, 1))
    return mean, spread


def weights_in_javascript(model: WithPage, stop: int) -> list[list[tuple[HostArray, HostArray]]]:
    """Each network's weights and biases, flat, as the page has them after a snapshot."""
    floats = [
        [tuple(np.array([float(v) for v in part]) for part in layer) for layer in network]
        for network in _run(model, [], stop)["weights"]
    ]
    return floats  # type: ignore[return-value]


def _run(model: WithPage, cells: Any, stop: int) -> Any:
    content, blobs = data_of(playground({"": model}))
    content["columns"] = [column.to_dict() for column in columns_of(subject_of(model))]
    rows = [[None if v != v else v for v in row] for row in np.asarray(cells, float).tolist()]
    given = {"content": content, "blob": blobs[1], "rows": rows, "stop": stop}
    return evaluated("\n".join([*map(source, FILES), RUN]), given)
