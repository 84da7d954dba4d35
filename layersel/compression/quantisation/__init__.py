"""Integer weights: rounded in place, or multiplied as integers by the fastest engine that this machine has."""
