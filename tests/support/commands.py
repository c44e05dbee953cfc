"""The command line, called in this process."""

import sys

from arraymlp.app import main as cli


def run(capsys, monkeypatch, *arguments):
    """Status, stdout and stderr of a command line."""
    monkeypatch.setattr(sys, "argv", ["arraymlp", *arguments])
    try:
        cli.main()
        status = 0
    except SystemExit as end:
        status = end.code
    out, err = capsys.readouterr()
    return status or 0, out, err
