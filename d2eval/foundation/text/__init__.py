"""Names, labels and values as text."""
