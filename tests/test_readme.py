"""The README's example is the one that runs."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_regression_in_the_readme_is_the_example() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [b.partition("```")[0] for b in readme.split("```python\n")[1:]]
    (shown,) = [b for b in blocks if "early_stopping=True" in b]
    example = (ROOT / "examples" / "regression.py").read_text(encoding="utf-8")
    code, _, _ = example.partition('"""\n\n')[2].partition("\nassert")
    assert shown == code
    assert sum(bool(line) for line in shown.splitlines()) <= 20
