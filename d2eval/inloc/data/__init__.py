"""InLoc's files and lists."""
