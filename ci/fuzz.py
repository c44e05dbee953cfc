"""Read damaged files of every format, and count what comes of them: ci/fuzz sets up and calls this.

Formats and verdicts are those of tests/support (fuzz_formats.py, fuzzing.py). Every format has a
process of its own, so that a crash, a hang or a claim of memory is seen, named and survived.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
SUPPORT = ROOT / "tests" / "support"
HANG = 60  # seconds after which a file counts as a hang
SPARE = 2**30  # bytes of addresses that a process may take, beyond those that it began with


@dataclass
class Count:
    """What came of the files of one format.

    Attributes:
        outcomes: how many of each.
        seconds: the most of one file.
        megabytes: likewise.
        faults: how many files showed one.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    megabytes: float = 0.0
    faults: int = 0


def read_files(name: str, seed: int, first: int, last: int, folder: Path) -> None:
    """Try files of one format, and print a line of JSON for each: in a process of its own."""
    sys.path.insert(0, str(SUPPORT))
    import fuzzing
    from fuzz_formats import FORMATS

    warnings.simplefilter("ignore")
    form = FORMATS[name]()
    file = folder / f"file{form.suffix}"
    for original in form.originals:  # which loads what a first call loads, too
        fuzzing.tried(form, original, file, limited=False)
    _limit_addresses()
    for i in range(first, last):
        content = fuzzing.damaged(form, Random(f"{seed}/{name}/{i}"))
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, HANG)  # whose signal ends the process
        try:
            line = [*fuzzing.tried(form, content, file), ""]
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            what = (
                f"{type(error).__name__}: {str(error)[:200]} ({Path(at.filename).name}:{at.lineno})"
            )
            line = ["fault", 0.0, 0.0, what]
            (folder / f"fault-{i}{form.suffix}").write_bytes(content)
        print(json.dumps([i, *line]), flush=True)


def _limit_addresses() -> None:
    """Have an allocation of very much fail, which would otherwise only be promised."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + SPARE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def lines(name: str, seed: int, first: int, last: int, folder: Path) -> Iterator[list[Any]]:
    """What `read_files` prints in a process of its own, until that ends; at last, how it ended."""
    arguments = ["--one", name, str(seed), str(first), str(last), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.wait():
        said = (folder / "stderr").read_text(errors="replace").strip().splitlines()[-1:]
        yield [None, "fault", 0.0, 0.0, f"the process ended with {process.returncode}: {said}"]


def counted(name: str, seed: int, files: int, keep: Path) -> Count:
    """The outcomes of so many files of a format; one that shows a fault is named and kept."""
    count, i = Count(), -1
    with TemporaryDirectory() as text:
        folder = Path(text)
        while i + 1 < files:
            begun = i
            for number, outcome, seconds, megabytes, what in lines(
                name, seed, i + 1, files, folder
            ):
                i = i + 1 if number is None else number
                count.outcomes[outcome] += 1
                count.seconds = max(count.seconds, seconds)
                count.megabytes = max(count.megabytes, megabytes)
                if what:
                    if not any(folder.glob("f*")):  # nothing but stderr
                        raise RuntimeError(f"{name}: {what}, before it had read a file")
                    print(f"{name}, file {i}: {what}", flush=True)
                    count.faults += 1
                    _keep(folder, i, keep / f"{'-'.join(re.findall('[a-zA-Z]+', name))}-{seed}-{i}")
            if i == begun:
                raise RuntimeError(f"nothing came of {name}: {(folder / 'stderr').read_text()}")
    return count


def _keep(folder: Path, i: int, to: Path) -> None:
    """Copy the file that showed a fault: that of its number, or the last of a process that died."""
    to.parent.mkdir(parents=True, exist_ok=True)
    file = next(folder.glob(f"fault-{i}.*"), None) or next(folder.glob("file.*"))
    shutil.copy(file, to.with_suffix(file.suffix))


def table(counts: dict[str, Count]) -> str:
    """Formats by outcomes, with the greatest seconds and megabytes."""
    columns = ["own error", "same content", "valid", "as read elsewhere", "fault"]
    head = f"{'format':<26}{'files':>8}" + "".join(f"{name:>19}" for name in columns)
    rows = [f"{head}{'s at most':>11}{'MB at most':>12}"]
    for name, count in counts.items():
        figures = "".join(f"{count.outcomes[column]:>19}" for column in columns)
        size = f"{count.seconds:>11.3f}{max(0.0, count.megabytes):>12.1f}"
        rows.append(f"{name:<26}{count.outcomes.total():>8}{figures}{size}")
    total = sum((count.outcomes for count in counts.values()), Counter[str]())
    figures = "".join(f"{total[column]:>19}" for column in columns)
    return "\n".join([*rows, f"{'all':<26}{total.total():>8}{figures}"])


def main() -> int:
    """Try the files and print the table; 1 where there was a fault."""
    if sys.argv[1:2] == ["--one"]:
        name, seed, first, last, folder = sys.argv[2:]
        read_files(name, int(seed), int(first), int(last), Path(folder))
        return 0
    parser = argparse.ArgumentParser(prog="ci/fuzz", description=__doc__)
    parser.add_argument("--files", type=int, default=200_000, help="in all (200000)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    parser.add_argument("--only", help="formats, as in network,CSV")
    parser.add_argument("--keep", type=Path, default=ROOT / ".venvs" / "fuzz" / "faults")
    options = parser.parse_args()
    sys.path.insert(0, str(SUPPORT))
    from fuzz_formats import FORMATS

    names = options.only.split(",") if options.only else list(FORMATS)
    unknown = set(names) - set(FORMATS)
    if unknown:
        parser.error(f"unknown formats {sorted(unknown)}; there is {', '.join(FORMATS)}")
    files = -(-options.files // len(names))
    with ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(lambda n: counted(n, options.seed, files, options.keep), names)
        counts = dict(zip(names, results, strict=True))
    print(table(counts))
    faults: int = sum(count.faults for count in counts.values())
    if faults:
        print(f"{faults} faults; the files are in {options.keep}")
    return faults > 0


if __name__ == "__main__":
    sys.exit(main())
