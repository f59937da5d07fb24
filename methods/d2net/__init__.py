"""D2-Net (Dusmanu et al., CVPR 2019): joint description and detection on VGG16's conv4_3."""
