"""From matches to poses of a query."""
