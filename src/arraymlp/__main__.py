"""``python -m arraymlp``: the command line."""

from arraymlp.cli import main

main()
