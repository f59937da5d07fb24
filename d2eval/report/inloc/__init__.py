"""InLoc's runs and the site's results become a table, curves and pictures."""
