"""Merging adapters of several datasets, trained on whatever layers and ranks, into one."""
