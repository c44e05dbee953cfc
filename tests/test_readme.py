"""The README's examples are those that run."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("early_stopping=True,  # 10", "regression"),
        ("GridSearchCV", "pipeline_grid_search"),
        ("arraymlp.sweep(", "sweep_and_ensemble"),
    ],
)
def test_what_the_readme_shows_is_the_example(words: str, name: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [b.partition("```")[0] for b in readme.split("```python\n")[1:]]
    (shown,) = [b for b in blocks if words in b]
    example = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    code, _, _ = example.partition('"""\n\n')[2].partition("\nassert")
    assert shown == code
    assert sum(bool(line) for line in shown.splitlines()) <= 30
