"""``python -m arraymlp``: the command line."""

from arraymlp.app.main import main

main()
