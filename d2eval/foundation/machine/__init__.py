"""Processes, memory and seconds."""
