"""The version of this program."""


def program_version() -> str:
    """As installed; looked up when it is asked for, since that takes as long as a start."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("d2eval")
    except PackageNotFoundError:  # a checkout that was not installed
        return "0+checkout"
