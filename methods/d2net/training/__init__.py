"""Training D2-Net (D2-Net paper, section 4.1): data, loss, and the loop."""
