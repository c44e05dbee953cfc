"""How Sphinx builds the documentation. `ci/docs` calls it; every warning is an error."""

import re
import sys
import zlib
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sphinx.util.nodes import make_refnode

sys.path.insert(0, str(Path(__file__).with_name("_ext")))

project = "arraymlp"
author = "The arraymlp developers"
copyright = "The arraymlp developers, MIT licence"
version = release = installed("arraymlp")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "play_page",
]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"arraymlp {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False

default_role = "py:obj"  # what single backticks mean in docstrings
nitpicky = True  # a name in them that is nowhere is a warning
nitpick_ignore_regex = [
    ("py:class", r".*"),  # types, as docstrings in scikit-learn's style write them
    ("py:obj", r"arraymlp\.[a-z_.]+"),  # modules and what is in them: tests/docs hold those
]
add_module_names = False
maximum_signature_line_length = 72
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_ivar = True  # an attribute is described once, in the docstring of its class
napoleon_google_docstring = True

# Where links to other libraries lead: all of their names with a network, without one these.
EXTERNAL = {
    "numpy": (
        "https://numpy.org/doc/stable",
        {
            "numpy.memmap": "reference/generated/numpy.memmap.html#$",
            "numpy.asarray": "reference/generated/numpy.asarray.html#$",
            "numpy.ndarray": "reference/generated/numpy.ndarray.html#$",
            "numpy.random.Generator": "reference/random/generator.html#$",
        },
    ),
    "cupy": (
        "https://docs.cupy.dev/en/stable",
        {"cupy.ndarray": "reference/generated/cupy.ndarray.html#$"},
    ),
    "sklearn": (
        "https://scikit-learn.org/stable",
        {
            f"sklearn.{module}.{name}": f"modules/generated/sklearn.{module}.{name}.html#$"
            for module, name in (
                ("neural_network", "MLPClassifier"),
                ("neural_network", "MLPRegressor"),
                ("model_selection", "GridSearchCV"),
                ("model_selection", "RandomizedSearchCV"),
            )
        },
    ),
}


_inventories = TemporaryDirectory(prefix="arraymlp-")  # removed when the build ends


def inventory(project: str, names: dict[str, str]) -> str:
    """Write Sphinx's list of where a project describes its classes, and return its path."""
    path = Path(_inventories.name) / f"{project}.inv"
    entries = [f"{name} py:class 1 {place} -\n" for name, place in names.items()]
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    path.write_bytes(head.encode() + zlib.compress("".join(entries).encode()))
    return str(path)


intersphinx_timeout = 5
intersphinx_mapping = {
    name: (address, (None, inventory(name, names))) for name, (address, names) in EXTERNAL.items()
}

highlight_language = "none"  # what follows :: in a docstring is a formula as a rule
smartquotes_action = "D"  # dashes alone: "relu" and (..., N) stay as they are typed
strip_signature_backslash = True  # keeps the underscore of coefs_

# Classes whose objects the package makes, and no user: their constructors are not shown.
MADE_HERE = {
    "arraymlp.Run",
    "arraymlp.SweepResult",
    "arraymlp.optimizers.Optimizer",
    "arraymlp.steps.probes.Measurement",
    "arraymlp.steps.profile.Profile",
    "arraymlp.sweeps.member.Member",
}
KINDS = ("class", "function", "exception")
ELSEWHERE = {name.rpartition(".")[2]: name for _, names in EXTERNAL.values() for name in names}


def without_constructor(
    app: Any, what: str, name: str, obj: object, options: object, signature: str, returns: str
) -> tuple[str, None] | None:
    """Leave out the signature of a class in MADE_HERE."""
    return ("", None) if what == "class" and name in MADE_HERE else None


def short_types(
    app: Any, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Show types by their last names, and types in scikit-learn's words without links."""
    for i, line in enumerate(lines):
        field = re.match(r"( *:(?:vartype|type|rtype)\b[^:]*: )(.*)", line)
        if field and " of shape " in line and "`" not in line:
            lines[i] = f"{field[1]}*{field[2]}*"
        elif field:
            plain = re.sub(r"~?\b(collections\.abc|typing|pathlib|os)\.", "", field[2])
            short = re.sub(r"(?<![\w.~`=])(?:[a-z]\w*\.)+(?=[A-Za-z])", r"~\g<0>", plain)
            lines[i] = field[1] + short


def linked(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Link a name that stands without its module, such as `Huber`, to where it is documented."""
    if node.get("refdomain") != "py":
        return None
    last = node["reftarget"].rpartition(".")[2]
    found = [
        (name, entry)
        for name, entry in env.get_domain("py").objects.items()
        if name.rpartition(".")[2] == last and entry.objtype in KINDS and not entry.aliased
    ]
    if len(found) == 1:
        (name, entry), page = found[0], node["refdoc"]
        return make_refnode(app.builder, page, entry.docname, entry.node_id, contnode, name)
    if not found and last in ELSEWHERE:
        node["reftarget"] = ELSEWHERE[last]  # for intersphinx, which is asked next
    return None


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", without_constructor)
    app.connect("autodoc-process-docstring", short_types, priority=900)  # after napoleon
    app.connect("missing-reference", linked, priority=400)  # before intersphinx
