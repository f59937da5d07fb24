"""Homographies from matches as papers measure them, on HPatches and on one's own pairs."""
