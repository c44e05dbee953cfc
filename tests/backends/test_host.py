"""Ctrl-C and SIGTERM as requests, and whom they are left to."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from arraymlp.backends.host import Interrupt, interruptible

pytestmark = pytest.mark.xdist_group("signals")
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
WAIT = 60  # seconds, for what takes one


def handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in DEFAULTS}


@contextmanager
def handled_by(number: int, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def script(code: str) -> subprocess.CompletedProcess[str]:
    """A script with the imports it needs, and what became of it."""
    begin = "import os, signal, sys\nfrom arraymlp.backends.host import interruptible\n"
    command = [sys.executable, "-c", begin + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT)


@BOTH
def test_the_first_signal_is_a_request(number: signal.Signals) -> None:
    with interruptible() as interrupt:
        assert (interrupt.requested, interrupt.signal, interrupt.exit_status) == (False, None, 0)
        signal.raise_signal(number)
    assert (interrupt.requested, interrupt.signal) == (True, number)
    assert interrupt.exit_status == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert handlers() == DEFAULTS


@BOTH
def test_a_block_within_another_has_its_interrupt(number: signal.Signals) -> None:
    with interruptible() as outer:
        with interruptible() as inner:
            assert inner is outer
            signal.raise_signal(number)
        assert outer.exit_status == 128 + number
        assert handlers() != DEFAULTS
    with interruptible() as later:
        assert not later.requested
    assert handlers() == DEFAULTS


@BOTH
def test_each_signal_is_handled_on_its_own(number: signal.Signals) -> None:
    seen: list[int] = []

    def users_own(number: int, frame: object) -> None:
        seen.append(number)

    (other,) = set(DEFAULTS) - {number}
    with handled_by(number, users_own):
        with interruptible() as interrupt:
            signal.raise_signal(number)
            assert not interrupt.requested
            signal.raise_signal(other)
        assert interrupt.signal == other
        assert signal.getsignal(number) is users_own
    assert seen == [number]
    assert handlers() == DEFAULTS


def test_a_signal_that_is_ignored_stays_so() -> None:
    with handled_by(signal.SIGTERM, signal.SIG_IGN), interruptible() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert not interrupt.requested


def test_in_another_thread_nothing_changes() -> None:
    def block() -> Interrupt:
        with interruptible() as interrupt:
            assert handlers() == DEFAULTS
        return interrupt

    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(block).result().requested


def test_another_thread_has_no_part_in_the_main_threads_block() -> None:
    def block() -> Interrupt:
        with interruptible() as interrupt:
            return interrupt

    with interruptible() as outer, ThreadPoolExecutor(1) as pool:
        signal.raise_signal(signal.SIGTERM)
        other = pool.submit(block).result()
    assert outer.requested
    assert not other.requested


@pytest.mark.parametrize("first", DEFAULTS)
def test_a_second_ctrl_c_raises(first: signal.Signals) -> None:
    with interruptible():
        signal.raise_signal(first)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert handlers() == DEFAULTS


@POSIX
@pytest.mark.parametrize("first", DEFAULTS, ids=lambda n: n.name)
def test_of_a_second_sigterm_the_process_dies(first: signal.Signals) -> None:
    done = script(f"""
with interruptible():
    signal.raise_signal({int(first)})
    print("goes on", flush=True)
    signal.raise_signal(signal.SIGTERM)
    print("too far", flush=True)
""")
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "goes on\n")


@POSIX
def test_after_a_sigterm_the_script_goes_on() -> None:
    done = script("""
with interruptible() as interrupt:
    os.kill(os.getpid(), signal.SIGTERM)
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
sys.exit(interrupt.exit_status)
""")
    assert done.returncode == 143, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("number", DEFAULTS, ids=lambda n: n.name)
def test_a_forked_process_has_left_its_parents_block(number: signal.Signals) -> None:
    done = script(f"""
with interruptible() as interrupt:
    child = os.fork()
    if child == 0:
        try:
            with interruptible() as own:
                assert own is not interrupt
            signal.raise_signal({int(number)})
        except KeyboardInterrupt:
            os._exit(130)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.raise_signal(signal.SIGTERM)
    assert interrupt.requested
print(ended)
""")
    expected = {signal.SIGINT: 130, signal.SIGTERM: -signal.SIGTERM}
    assert done.stdout == f"{expected[number]}\n", done.stderr


@POSIX
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_process_of_multiprocessing_ends_its_block_and_then_dies_of_sigterm(
    method: str, tmp_path: Any
) -> None:
    file = tmp_path / "child.py"
    file.write_text("""
import multiprocessing, signal, sys
from arraymlp.backends.host import interruptible

def work(fails):
    with interruptible():
        with interruptible() as interrupt:
            signal.raise_signal(signal.SIGTERM)
        print("goes on", interrupt.signal, flush=True)
        if fails:
            raise ValueError
    print("too far", flush=True)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    for fails in (False, True):
        process = context.Process(target=work, args=(fails,))
        process.start()
        process.join(30)
        print(process.exitcode, flush=True)
""")
    command = [sys.executable, str(file), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
    assert done.stdout.split("\n") == 2 * ["goes on 15", "-15"] + [""], done.stderr
