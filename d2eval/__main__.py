"""Runs the command line as ``python -m d2eval``."""

import sys

from d2eval.cli import main

if __name__ == "__main__":
    sys.exit(main())
