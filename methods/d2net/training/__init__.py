"""Training D2-Net (D2-Net paper, section 4.1): its network, loss, and loop; data lie in `data`."""
