"""Runs a command that ends, with all that it starts, when whoever asked for it does.

``python guard.py COMMAND...`` as the first process of a session: the command has no input, and all
it prints goes to standard error. Standard output says in JSON how it ended. The whole group of
processes is killed as soon as the command ends, or standard input does, as it does by itself when
the process at its other end is gone, however that went. See `d2eval.foundation.machine.program`.
"""

import json
import os
import signal
import subprocess
import sys
import threading


def _end() -> None:
    os.killpg(0, signal.SIGKILL)


def _watch() -> None:
    while os.read(0, 1):
        pass
    _end()


def _main() -> None:
    try:
        child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=2)
    except (OSError, ValueError) as error:
        said: dict[str, object] = {"error": getattr(error, "strerror", None) or str(error)}
    else:
        threading.Thread(target=_watch, daemon=True).start()
        said = {"code": child.wait()}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    _end()


if __name__ == "__main__":
    _main()
