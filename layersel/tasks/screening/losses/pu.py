"""Learning from positive and unlabelled records: what is excluded by label has no part in it.

Source: the InfoNCE loss (van den Oord et al. 2018) with the debiased negatives of Chuang et al. 2020.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from layersel.tasks.screening.losses.loss import Loss, Unlabelled

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from layersel.data.tokens import TokenIds

# Shapes: L labelled records, I included ones of a batch, U unlabelled ones, D hidden size.


@dataclass
class PositiveUnlabelled(Loss):
    """Included records attract each other; a fresh draw of unlabelled records repels them."""

    temperature: float = 0.1
    """τ: cosine similarities are divided by it."""
    prevalence: float = 0.0
    """The share of the unlabelled records that is thought to be included; what they would repel is taken out."""

    no_loss: ClassVar[str] = "unlabelled records lacked two included ones; use larger batches"
    min_included: ClassVar[int] = 2

    def pool(self, unlabelled: Unlabelled) -> "list[TokenIds]":
        """Returns the texts of all unlabelled records."""
        return list(unlabelled.tokens)

    def batches(
        self, labels_L: "Tensor", n_pool: int, size: int, generator: "torch.Generator"
    ) -> "list[PositiveUnlabelledBatch]":
        """Returns the pool in a new order, `size` records a batch, each beside at most as many included ones."""
        import torch

        included_I = (labels_L == 1).nonzero()[:, 0]
        found = []
        for drawn_U in torch.split(torch.randperm(n_pool, generator=generator), size):
            order_I = torch.randperm(len(included_I), generator=generator)[:size]
            texts = included_I[order_I.sort().values].tolist() + (len(labels_L) + drawn_U).tolist()
            found.append(PositiveUnlabelledBatch(texts, len(order_I)))
        return found

    def of(self, vectors_TD: "Tensor", batch: "PositiveUnlabelledBatch") -> "Tensor | None":  # type: ignore[override]
        """Returns the loss of a batch; None with fewer than two included records."""
        included_ID, unlabelled_UD = vectors_TD[: batch.n_included], vectors_TD[batch.n_included :]
        return positive_unlabelled_loss(included_ID, unlabelled_UD, self.temperature, self.prevalence)

    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""
        found = super().problems()
        if not 0 <= self.prevalence < 1:
            found.append(f"task.loss.prevalence: expected a share from 0 to below 1, but got {self.prevalence}")
        return found


class PositiveUnlabelledBatch(NamedTuple):
    """Included records, and after them unlabelled ones.

    Attributes:
        texts: Their indices.
        n_included: How many of them are included.
    """

    texts: list[int]
    n_included: int


def positive_unlabelled_loss(
    included_ID: "Tensor", unlabelled_UD: "Tensor", temperature: float, prevalence: float = 0.0
) -> "Tensor | None":
    """Returns the mean over the ordered pairs i ≠ j of included records of −log(e^{s_ij} / (e^{s_ij} + U·g_i)).

    s is the cosine similarity divided by τ. g_i is the mean of e^{s_iu} over the unlabelled records u, less what the
    share π of included ones among them adds: max((mean_u e^{s_iu} − π·mean_j e^{s_ij})/(1−π), e^{−1/τ}) (Chuang et
    al. 2020, equation 8). None with fewer than two included records.

    Example:
        >>> import torch
        >>> included, unlabelled = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0]])
        >>> positive_unlabelled_loss(included, unlabelled, temperature=1.0)
        tensor(0.6931)
    """
    import torch
    from torch.nn.functional import normalize

    n = len(included_ID)
    if n < 2:
        return None
    units_ID = normalize(included_ID, dim=1)
    itself_II = torch.eye(n, dtype=torch.bool, device=units_ID.device)
    between_II = (units_ID @ units_ID.T / temperature).masked_fill(itself_II, -torch.inf)
    repelled_I = (units_ID @ normalize(unlabelled_UD, dim=1).T / temperature).logsumexp(dim=1)
    if prevalence > 0:
        attracted_I = between_II.logsumexp(dim=1) - math.log((n - 1) / len(unlabelled_UD))
        left_I = 1 - prevalence * (attracted_I - repelled_I).exp()
        least = math.log(len(unlabelled_UD)) - 1 / temperature
        repelled_I = (repelled_I + (left_I.clamp(min=1e-30) / (1 - prevalence)).log()).clamp(min=least)
    return (torch.logaddexp(between_II, repelled_I[:, None]) - between_II)[~itself_II].mean()
