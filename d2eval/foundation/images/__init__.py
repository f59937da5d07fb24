"""Images: decoding, depth, light."""
