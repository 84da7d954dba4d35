"""Heads: what turns the vectors and texts of a review into scores, learnt from a few labelled records."""
