"""Merging adapters of several reviews, trained on whatever layers and ranks, into one."""
