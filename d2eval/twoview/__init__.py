"""Pose from pairs of images with known intrinsics."""
