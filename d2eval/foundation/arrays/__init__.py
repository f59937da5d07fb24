"""Products and nearest neighbours of large arrays."""
