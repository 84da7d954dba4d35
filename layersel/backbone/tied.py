"""Tensors that a model takes from others of its own."""

from transformers import PreTrainedModel


def tied_names(model: PreTrainedModel) -> set[str]:
    """Returns the names of the tensors that are the same as others, as the head of many decoders is their embedding."""
    return set(model._tied_weights_keys or ()) if model.config.get_text_config().tie_word_embeddings else set()
