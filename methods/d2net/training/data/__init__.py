"""Pairs of crops with dense correspondences, made from photos, posed images, or MegaDepth.

Nothing here knows what is trained on them.
"""
