"""Images to features to matches, through the store."""
