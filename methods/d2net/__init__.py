"""D2-Net (Dusmanu et al., CVPR 2019): joint description and detection on VGG16's conv4_3."""

from methods.d2net.method import (
    D2MultiScale,
    D2MultiScaleTrained,
    D2SingleScale,
    D2SingleScaleTrained,
)

__all__ = ["D2MultiScale", "D2MultiScaleTrained", "D2SingleScale", "D2SingleScaleTrained"]
