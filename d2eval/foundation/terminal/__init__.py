"""What is said on a terminal, and Ctrl-C."""
