"""The ten points of the hot path, each measured with it and without it."""
