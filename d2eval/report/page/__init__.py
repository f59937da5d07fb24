"""One page of results: a file that opens from disk, and the results beside it as JSON."""
