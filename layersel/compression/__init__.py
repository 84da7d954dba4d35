"""Compression of models: precision, quantisation and pruning."""
