"""The one exception that stands for a user's mistake or a broken file."""


class D2EvalError(Exception):
    """Something the user can mend; the command line prints it as one line and exits with 2.

    The message names the file or option, says what is wrong and what to do.
    """
