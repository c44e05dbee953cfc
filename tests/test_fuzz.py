"""A few thousand damaged files of every format, each with a fixed seed; `ci/fuzz` tries more."""

import re
import tomllib
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("sklearn", minversion="1.7")

from fuzz_formats import FORMATS
from fuzzing import AS_READ, REFUSED, SAME, VALID, damaged, tried

FILES = 160  # of each format
NEEDS = {
    "network (ONNX)": ["onnx"],
    "CSV": ["pandas"],
    "CSV (no pyarrow)": ["pandas"],
    "Parquet": ["pyarrow", "pandas"],
}

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore"),  # of NumPy and pandas about what the files say
]


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_refused_or_is_what_it_was(name: str, tmp_path: Path) -> None:
    for library in NEEDS.get(name, []):
        pytest.importorskip(library)
    form = FORMATS[name]()
    file = tmp_path / f"file{form.suffix}"
    good = {tried(form, original, file, limited=False).outcome for original in form.originals}
    assert good in ({SAME}, {VALID}, {AS_READ})
    outcomes = []
    for i in range(FILES):
        content = damaged(form, Random(f"0/{name}/{i}"))
        try:
            outcomes.append(tried(form, content, file).outcome)
        except Exception as error:
            raise AssertionError(f"file {i} of seed 0: {content[:3000]!r}") from error
    assert set(outcomes) <= {REFUSED, *good}
    assert outcomes.count(REFUSED) > FILES / 2


def test_the_long_run_has_what_its_formats_need() -> None:
    """ci/fuzz makes an environment of this group."""
    text = Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8")
    group = tomllib.loads(text)["dependency-groups"]["fuzz"]
    names = {re.split("[<>=]", requirement)[0] for requirement in group}
    assert {library for libraries in NEEDS.values() for library in libraries} <= names
