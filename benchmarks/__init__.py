"""What is measured, as data: one TOML file for each benchmark, and the embedded sample."""
