"""Runs the command line, as ``python -m d2eval`` or ``d2eval``."""

import sys

from d2eval.foundation.terminal.interrupts import end_on_signals


def main() -> int:
    """Runs the command that the arguments name; see `d2eval.cli.main`."""
    end_on_signals()  # before anything else is imported, which takes a while
    from d2eval.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
