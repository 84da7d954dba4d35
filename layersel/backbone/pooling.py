"""Makes a text's vector of the hidden states of its tokens."""

from collections.abc import Callable

from torch import Tensor

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


def _row(hidden_BTD: Tensor, positions_B: Tensor) -> Tensor:
    index = positions_B.view(-1, 1, 1).expand(-1, 1, hidden_BTD.shape[-1])
    return hidden_BTD.gather(1, index).squeeze(1)
