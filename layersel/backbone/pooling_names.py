"""The names of the ways to pool."""

POOLING_NAMES = ("cls", "mean", "last")
