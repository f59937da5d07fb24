"""InLoc: indoor localization against cutouts of laser scans, as its MATLAB code does it."""
