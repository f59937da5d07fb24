"""What the program says: results on standard output, notes and errors on standard error.

Names of files, methods and images stand in it; each line goes through `printable`.
"""

import sys

from d2eval.text import printable


def say(*lines: str) -> None:
    """Prints lines of results at once, so that a log doesn't hold them back."""
    for line in lines:
        print(printable(line))
    sys.stdout.flush()


def say_lines(text: str) -> None:
    """Prints text of several lines, such as a table; in what stands in it, none may be left."""
    say(*text.split("\n"))


def note(text: str) -> None:
    """Says in one line what the user should know of work that goes on."""
    print(f"note: {printable(text)}", file=sys.stderr)


def complain(text: str) -> None:
    """Says in one line why the program ends."""
    print(f"d2eval: {printable(text)}", file=sys.stderr)
