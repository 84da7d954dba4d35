"""Makes a text's vector of the hidden states of its tokens."""

from collections.abc import Callable

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from layersel.backbone.pooling_names import POOLING_NAMES
from layersel.errors import one_of

# Shapes: B texts, T tokens, D hidden size.


def pool_cls(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Returns the state of the first real token, wherever the padding stands."""
    return _row(hidden_BTD, mask_BT.int().argmax(dim=1))


def pool_mean(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Computes the mean over the real tokens."""
    weights_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTD.dtype)
    return (hidden_BTD * weights_BT1).sum(dim=1) / weights_BT1.sum(dim=1).clamp(min=1)


def pool_last(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Returns the state of the last real token (for decoders)."""
    length = mask_BT.shape[1]
    return _row(hidden_BTD, length - 1 - mask_BT.int().flip(1).argmax(dim=1))


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = dict(
    zip(POOLING_NAMES, (pool_cls, pool_mean, pool_last), strict=True)
)


def pooling_named(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns the function of that name: from hidden states B×T×D and attention mask B×T to vectors B×D.

    Raises:
        UserError: The name is unknown.
    """
    if name not in POOLINGS:
        raise one_of("pooling", name, POOLINGS)
    return POOLINGS[name]


def default_pooling(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> str:
    """Returns what stands for a text where nothing is said: `last` for decoders, `cls` for encoders that have a [CLS].

    A decoder is of a kind that transformers has with a causal language model's head only: many encoders have such a
    head too, but also one for masked tokens, and `config.is_decoder` is false in most decoders. Encoders of any other
    kind, and those whose tokenizer has no [CLS], have the mean.
    """
    kind = model.config.model_type
    masked = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not masked:
        return "last"
    has_cls = tokenizer is None or tokenizer.cls_token_id is not None
    return "cls" if masked and has_cls else "mean"


def _row(hidden_BTD: Tensor, positions_B: Tensor) -> Tensor:
    index = positions_B.view(-1, 1, 1).expand(-1, 1, hidden_BTD.shape[-1])
    return hidden_BTD.gather(1, index).squeeze(1)
