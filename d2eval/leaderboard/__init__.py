"""What runs found, gathered for a report that can be shared: numbers, items and comparisons."""
