"""The thesis's loss: pairs of labelled records, of one class or of two."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from layersel.tasks.screening.losses.loss import Loss
from layersel.tasks.screening.losses.pairs import Pairs, RandomPairs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Shapes: L labelled records, P pairs, D hidden size.


@dataclass
class Pairwise(Loss):
    """Pairs of one class attract each other, pairs of two classes repel (Faria; decoupled as Yeh et al. 2022)."""

    pairs: Pairs = field(default_factory=RandomPairs)
    """Which pairs of labelled records are contrasted."""

    no_loss: ClassVar[str] = "pairs lacked same-class or different-class pairs; use larger batches"

    def batches(self, labels_L: "Tensor", n_pool: int, size: int, generator: "torch.Generator") -> "list[PairBatch]":
        """Returns the epoch's pairs, `size` a batch."""
        return list(pair_batches(self.pairs.indices(len(labels_L), generator), labels_L, size))

    def of(self, vectors_TD: "Tensor", batch: "PairBatch") -> "Tensor | None":  # type: ignore[override]
        """Returns the loss of a batch of pairs; None if all of them, or none, are of one class."""
        left_PD, right_PD = vectors_TD[batch.pairs_P2].unbind(dim=1)
        return pairwise_contrastive_loss(left_PD, right_PD, batch.same_P, self.temperature)

    def components(self) -> list[object]:
        """Returns what draws the pairs."""
        return [self.pairs]


class PairBatch(NamedTuple):
    """Some pairs and the distinct texts in them.

    Attributes:
        texts: Indices of the distinct records, sorted; each is encoded once.
        pairs_P2: Positions in `texts` of the two records of each pair.
        same_P: Whether both are of one class.
    """

    texts: list[int]
    pairs_P2: "Tensor"
    same_P: "Tensor"


def pair_batches(indices_P2: "Tensor", labels_L: "Tensor", batch_size: int) -> Iterator[PairBatch]:
    """Cut an epoch of pairs into batches of `batch_size` pairs.

    Example:
        >>> import torch
        >>> batch = next(pair_batches(torch.tensor([[3, 0], [3, 5]]), torch.tensor([1, 0, 0, 1, 0, 0]), 2))
        >>> batch.texts, batch.pairs_P2.tolist(), batch.same_P.tolist()
        ([0, 3, 5], [[1, 0], [1, 2]], [True, False])
    """
    import torch

    for chunk_P2 in torch.split(indices_P2, batch_size):
        texts, positions_P2 = torch.unique(chunk_P2, return_inverse=True)
        same_P = labels_L[chunk_P2[:, 0]] == labels_L[chunk_P2[:, 1]]
        yield PairBatch(texts.tolist(), positions_P2, same_P)


def pairwise_contrastive_loss(
    left_PD: "Tensor", right_PD: "Tensor", same_P: "Tensor", temperature: float
) -> "Tensor | None":
    """L = −mean over same-class pairs p of (s_p − logsumexp over different-class pairs n of s_n), s = cos/τ.

    Only different-class pairs stand in the denominator (Faria; after the decoupled loss of Yeh et al. 2022), so the
    loss can be negative.

    Args:
        left_PD: Vectors of the first records of the pairs.
        right_PD: Vectors of the second ones.
        same_P: Whether the two are of one class.
        temperature: τ > 0.

    Returns:
        A 0-dimensional tensor; None for a batch without a same-class or without a different-class pair, for which
        the loss is not defined: the training step skips it.

    Example:
        >>> import torch
        >>> left = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> right = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> pairwise_contrastive_loss(left, right, torch.tensor([True, False]), temperature=0.5)
        tensor(-2.)
    """
    from torch.nn.functional import cosine_similarity

    if bool(same_P.all()) or not bool(same_P.any()):
        return None
    similarity_P = cosine_similarity(left_PD, right_PD) / temperature
    return similarity_P[~same_P].logsumexp(0) - similarity_P[same_P].mean()
