"""Every format whose reader is tried on damaged files, by name."""

from collections.abc import Callable

from damaged_models import MODELS
from damaged_runs import RUNS
from damaged_tables import TABLES
from fuzzing import Format

FORMATS: dict[str, Callable[[], Format]] = {**MODELS, **RUNS, **TABLES}
