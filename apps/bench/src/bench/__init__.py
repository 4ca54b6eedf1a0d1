"""The benchmark: backbones, long-range layers and splits composed."""
