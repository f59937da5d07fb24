"""Aachen Day-Night's files and lists."""
