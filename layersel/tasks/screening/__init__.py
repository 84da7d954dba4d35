"""Few-shot citation screening: from a few labelled records to a ranking of all others."""
