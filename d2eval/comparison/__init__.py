"""What runs differ in, on the items that they share."""
