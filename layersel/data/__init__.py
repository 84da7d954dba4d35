"""Records in, batches out: readers, the review catalogue, the few-shot split, pairs and data modules."""
