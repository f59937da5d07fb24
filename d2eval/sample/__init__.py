"""Makes the embedded data sets from the photos in ``benchmarks/sample/photos``."""
