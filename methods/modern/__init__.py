"""Methods that people compare with today, by OpenCV, by kornia's networks or by networks here."""
