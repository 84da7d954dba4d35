"""What evaluate.py does: a finished run, an adapter or a base model on any data."""
