"""CIFAR-10: images in ten classes -> trainings of a small network -> their test accuracy."""
