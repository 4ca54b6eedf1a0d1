"""Not built yet: this release holds no public names."""
