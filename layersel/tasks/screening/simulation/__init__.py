"""Replays of labelled reviews: batches are read in ranked order, and the ranking is made anew after each."""
