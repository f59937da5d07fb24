"""d2eval: local image features evaluated as the D2-Net paper (CVPR 2019) evaluated them."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("d2eval")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+checkout"
