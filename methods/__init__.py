"""The adapters: one file or package for each method, found by name through registry.toml."""
