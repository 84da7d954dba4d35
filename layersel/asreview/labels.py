"""What ASReview's pages call the parts of this extension."""

LABELS = {
    "feature_extractors": {"layersel": {"label": "Encoder (layersel)"}},
    "classifiers": {"layersel-nearest": {"label": "Nearest included records (layersel)"}},
}
"""The labels, by kind of part and by name, as ASReview's entry point `_metadata` wants them."""
