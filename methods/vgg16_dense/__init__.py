"""VGG16 as a dense descriptor (InLoc's Dense PE) and as a descriptor of whole images."""
