"""What a benchmark is, and the one way in which all of them are run."""
