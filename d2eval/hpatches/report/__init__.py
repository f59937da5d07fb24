"""Table and curves of HPatches."""
