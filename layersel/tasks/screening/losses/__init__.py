"""Losses: what an adapter is trained for, and which texts a step of the training looks at."""
