"""Fewer bits: the numeric precision of training and inference."""
