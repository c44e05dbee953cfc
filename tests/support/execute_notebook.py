"""Run as a program: executes cells read as JSON from stdin, writes their outputs as JSON.

A process of its own, since clients and kernels of Jupyter warn of much that is not ours.
"""

import json
import os
import sys
from typing import Any

ATTEMPTS = 4  # to start a kernel


def execute(sources: list[str]) -> list[dict[str, Any]]:
    """The outputs of each cell, as a saved notebook has them, and when which message was sent."""
    import nbformat
    from nbclient import NotebookClient

    v4 = nbformat.v4
    cells = [
        v4.new_code_cell(source, metadata={"tags": ["raises-exception"]}) for source in sources
    ]
    book = v4.new_notebook(cells=cells)
    messages: list[list[tuple[str, float]]] = [[] for _ in cells]

    class Client(NotebookClient):  # type: ignore[misc,unused-ignore]
        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            when = msg["header"]["date"].timestamp()  # the kernel's
            messages[cell_index].append((msg["msg_type"], when))
            return super().process_message(msg, cell, cell_index)

    os.environ.pop("MPLBACKEND", None)  # a kernel has its own, where the tester has none set

    for attempt in range(ATTEMPTS):
        try:
            Client(book, timeout=60, kernel_name="python3").execute()
            break
        except RuntimeError as error:
            # A kernel is given ports that were free; another program may have taken one meanwhile.
            if "died before replying" not in str(error) or attempt == ATTEMPTS - 1:
                raise
    return [
        {"outputs": cell.outputs, "messages": of_cell}
        for cell, of_cell in zip(book.cells, messages, strict=True)
    ]


if __name__ == "__main__":
    json.dump(execute(json.load(sys.stdin)), sys.stdout)
