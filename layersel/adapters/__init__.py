"""Adapters on the chosen layers: placing them, merging them, saving and loading them."""
