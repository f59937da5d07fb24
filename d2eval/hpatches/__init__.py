"""HPatches sequences: what lies on disk -> evaluation -> rows."""
