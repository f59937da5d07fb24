"""Tables and plots of InLoc."""
