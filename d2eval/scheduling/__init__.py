"""Work on many units at once: processes of this machine, or of a cluster."""
