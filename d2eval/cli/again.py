"""A command of d2eval that another one runs, as a process of its own.

So its peak memory is its own, and the manifest of what it makes names the command itself.
"""

import shlex
import subprocess
import sys
from collections.abc import Sequence

from d2eval.foundation.terminal.console import say


def run_command(words: Sequence[str]) -> int:
    """Runs ``d2eval words``, which prints as usual: its exit code.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    say(f"$ d2eval {shlex.join(words)}")
    sys.stdout.flush()
    code = subprocess.run([sys.executable, "-m", "d2eval", *words], check=False).returncode
    if code == 130:
        raise KeyboardInterrupt
    return code
