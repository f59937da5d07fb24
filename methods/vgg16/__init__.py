"""VGG16 as a dense descriptor (InLoc's Dense PE) and as a descriptor of whole images."""

from methods.vgg16.method import Vgg16Dense

__all__ = ["Vgg16Dense"]
