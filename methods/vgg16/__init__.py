"""VGG16, streamed over rows of an image so that memory stays small; methods say which layers."""
