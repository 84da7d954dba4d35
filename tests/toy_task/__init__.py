"""A second task, outside of layersel: the regression of a number from a text."""
