"""A run: its folder, its manifest, its rows."""
