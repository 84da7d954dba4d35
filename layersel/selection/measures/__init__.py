"""The formulas of scores: similarities of representations, norms of features, spectra of weights."""
