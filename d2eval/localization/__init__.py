"""What benchmarks of camera poses share."""
