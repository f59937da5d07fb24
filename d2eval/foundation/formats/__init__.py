"""Containers of arrays, each read so that a damaged file is an error."""
