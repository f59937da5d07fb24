"""Tables and plots of Aachen Day-Night."""
