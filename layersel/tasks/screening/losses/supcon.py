"""The supervised contrastive loss over all pairs of a batch's records.

Source: Khosla et al. 2020, Supervised contrastive learning, equation 2.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from layersel.tasks.screening.losses.loss import Loss
from layersel.tasks.screening.losses.pairs import Pairs, RandomPairs
from layersel.tasks.screening.losses.pairwise import pair_batches

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Shapes: L labelled records, T texts, D hidden size.


@dataclass
class SupCon(Loss):
    """Each record attracts all others of its class and repels those of the other class."""

    pairs: Pairs = field(default_factory=RandomPairs)
    """Whose distinct records make a batch."""

    no_loss: ClassVar[str] = "pairs lacked two records of one class; use larger batches"

    def batches(
        self, labels_L: "Tensor", n_pool: int, size: int, generator: "torch.Generator"
    ) -> "list[LabelledBatch]":
        """Returns the distinct records of each `size` pairs of the epoch."""
        drawn = pair_batches(self.pairs.indices(len(labels_L), generator), labels_L, size)
        return [LabelledBatch(batch.texts, labels_L[batch.texts]) for batch in drawn]

    def of(self, vectors_TD: "Tensor", batch: "LabelledBatch") -> "Tensor | None":  # type: ignore[override]
        """Returns the loss of a batch of records; None if no two are of one class."""
        return supervised_contrastive_loss(vectors_TD, batch.labels_T, self.temperature)

    def components(self) -> list[object]:
        """Returns what draws the pairs."""
        return [self.pairs]


class LabelledBatch(NamedTuple):
    """Distinct records and their labels.

    Attributes:
        texts: Indices of the records.
        labels_T: Their labels.
    """

    texts: list[int]
    labels_T: "Tensor"


def supervised_contrastive_loss(vectors_TD: "Tensor", labels_T: "Tensor", temperature: float) -> "Tensor | None":
    """Returns the mean over the records i of −mean over others p of their class of log(e^{s_ip} / Σ_{a≠i} e^{s_ia}).

    s is the cosine similarity divided by τ. A record that is alone in its class is no i, but stands in the
    denominators of the others. None if all are alone.

    Example:
        >>> import torch
        >>> vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> supervised_contrastive_loss(vectors, torch.tensor([1, 1, 0]), temperature=1.0)
        tensor(0.3133)
    """
    import torch
    from torch.nn.functional import normalize

    itself_TT = torch.eye(len(labels_T), dtype=torch.bool, device=vectors_TD.device)
    labels_T = labels_T.to(vectors_TD.device)
    alike_TT = (labels_T[:, None] == labels_T) & ~itself_TT
    anchors_T = alike_TT.any(dim=1)
    if not bool(anchors_T.any()):
        return None
    units_TD = normalize(vectors_TD, dim=1)
    others_TT = (units_TD @ units_TD.T / temperature).masked_fill(itself_TT, -torch.inf)
    log_shares_TT = others_TT - others_TT.logsumexp(dim=1, keepdim=True)
    sums_T = log_shares_TT.masked_fill(~alike_TT, 0.0).sum(dim=1)
    return -(sums_T[anchors_T] / alike_TT.sum(dim=1)[anchors_T]).mean()
