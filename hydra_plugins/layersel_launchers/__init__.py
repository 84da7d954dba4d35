"""Hydra launchers: how the cells of a grid are run."""
