"""Fewer weights: zeros within the linear layers, or whole layers taken out."""
