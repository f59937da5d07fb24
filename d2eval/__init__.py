"""d2eval: local image features evaluated as the D2-Net paper (CVPR 2019) evaluated them."""


def __getattr__(name: str) -> str:
    """``__version__``, looked up when it is asked for: that takes as long as a start."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("d2eval")
    except PackageNotFoundError:  # a checkout that was not installed
        return "0+checkout"
