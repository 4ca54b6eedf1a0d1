"""Training loop, training steps and loss."""
