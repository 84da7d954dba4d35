"""Learning from the review's own records before the labels come in: two views of each are told from those of others."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from layersel.errors import UserError, one_of
from layersel.tasks.screening.losses.loss import Loss, Unlabelled

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from layersel.data.tokens import TokenIds

# Shapes: B records of a batch, D hidden size.

TITLE_ABSTRACT, DROPOUT = "title_abstract", "dropout"
VIEWS = (TITLE_ABSTRACT, DROPOUT)


@dataclass
class SelfSupervised(Loss):
    """The two views of a record attract each other and repel those of the others; no label is used."""

    temperature: float = 0.05
    """τ: cosine similarities are divided by it."""
    views: str = TITLE_ABSTRACT
    """title_abstract, or dropout: the same text twice, under other dropout (Gao et al. 2021; needs task.dropout)."""

    no_loss: ClassVar[str] = "records were of one record each; use larger batches"

    @property
    def needs_dropout(self) -> bool:
        """Returns whether the views differ by dropout only."""
        return self.views == DROPOUT

    def pool(self, unlabelled: Unlabelled) -> "list[TokenIds]":
        """Returns the first views of the records, and after them, in the same order, the second ones.

        Raises:
            UserError: No record has both a title and an abstract.
        """
        from layersel.data.tokens import tokenize

        if self.views == DROPOUT:
            return [*unlabelled.tokens, *unlabelled.tokens]
        whole = [record for record in unlabelled.records if record.title and record.abstract]
        if not whole:
            raise UserError(
                f"task.loss.views={self.views}: expected unlabelled records with title and abstract, but got none; "
                "use task.loss.views=dropout or task/loss=pairwise"
            )
        parts = [record.title for record in whole] + [record.abstract for record in whole]
        return tokenize(parts, unlabelled.tokenizer, unlabelled.max_length)

    def batches(self, labels_L: "Tensor", n_pool: int, size: int, generator: "torch.Generator") -> "list[TwoViews]":
        """Returns both views of the records in a new order, `size` records a batch."""
        import torch

        n_records = n_pool // 2
        chunks = torch.split(torch.randperm(n_records, generator=generator), size)
        return [TwoViews((len(labels_L) + torch.cat([first, n_records + first])).tolist()) for first in chunks]

    def of(self, vectors_TD: "Tensor", batch: "TwoViews") -> "Tensor | None":  # type: ignore[override]
        """Returns the loss of a batch; None for a single record."""
        left_BD, right_BD = vectors_TD.chunk(2)
        return two_views_loss(left_BD, right_BD, self.temperature)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong."""
        found = super().problems()
        return found if self.views in VIEWS else [*found, str(one_of("task.loss.views", self.views, VIEWS))]


class TwoViews(NamedTuple):
    """The first views of some records, and after them the second ones.

    Attributes:
        texts: Their indices.
    """

    texts: list[int]


def two_views_loss(left_BD: "Tensor", right_BD: "Tensor", temperature: float) -> "Tensor | None":
    """Returns the mean cross-entropy by which each view finds its record's other one among those of the batch.

    Left views look for right ones and the other way round, by cos/τ (InfoNCE as in Radford et al. 2021). None for a
    single record.

    Example:
        >>> import torch
        >>> two_views_loss(torch.eye(2), torch.eye(2), temperature=1.0)
        tensor(0.3133)
    """
    import torch
    from torch.nn.functional import cross_entropy, normalize

    if len(left_BD) < 2:
        return None
    similarity_BB = normalize(left_BD, dim=1) @ normalize(right_BD, dim=1).T / temperature
    own_B = torch.arange(len(left_BD), device=similarity_BB.device)
    return (cross_entropy(similarity_BB, own_B) + cross_entropy(similarity_BB.T, own_B)) / 2
