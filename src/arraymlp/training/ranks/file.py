"""The checkpoint of one training by several processes: rank 0 has the file, all go on from it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from arraymlp.training.checkpoint import RunFile
from arraymlp.training.ranks.ranks import Ranks
from arraymlp.training.run import Run
from arraymlp.training.run_files import read_content, restore_run
from arraymlp.training.saver import Saver


class FileOfFirstRank:
    """Of rank 0 its `RunFile`; of the others what goes on from it.

    Args:
        make: makes the file, at rank 0.
        run: before its first step.
        ranks: the processes.
    """

    def __init__(self, make: Callable[[], RunFile], run: Run, ranks: Ranks) -> None:
        self._file = make() if ranks.is_first else None
        self._run, self._ranks = run, ranks
        self.is_finished = False

    @property
    def saver(self) -> Saver | None:
        """What writes the file, at rank 0."""
        return None if self._file is None else self._file.saver

    @contextmanager
    def open(self) -> Iterator[bool]:
        """Hold the file; bring each rank to where it is. Yields whether there was one.

        Raises:
            CheckpointError, OSError: as of `RunFile.open`, at rank 0.
        """
        if self._file is None:
            yield self._take(resumes=False)
            return
        with self._file.open() as resumes:
            yield self._take(resumes)

    def _take(self, resumes: bool) -> bool:
        """Give the others rank 0's state, or take it; True where there is one.

        Args:
            resumes: whether rank 0 has one.
        """
        run, file, alone = self._run, self._file, self._ranks.size == 1

        def of_first() -> tuple[bool, bool, Any]:
            assert file is not None
            sent = None if alone or not resumes else file.state().tensors(run.backend)
            return file.is_finished, resumes, sent

        self.is_finished, there, tensors = self._ranks.share(of_first)
        if tensors is not None and file is None:
            restore_run(run, read_content(RunFile.HEADER, tensors), tensors)
        return bool(there)

    def finish(self) -> None:
        """Write the last state."""
        if self._file is not None:
            self._file.finish()
