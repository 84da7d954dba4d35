"""The steps of a cell, by name."""

TRAIN, MERGE, PRUNE, QUANTISE = STEPS = ("train", "merge", "prune", "quantise")
