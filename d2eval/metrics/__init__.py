"""Definitions of every number, each once."""
