"""VLFeat's covariant features: Hessian-affine for HPatches, affine DoG for InLoc."""

from methods.vlfeat.method import AffineRootSIFT, HessianAffineRootSIFT

__all__ = ["AffineRootSIFT", "HessianAffineRootSIFT"]
