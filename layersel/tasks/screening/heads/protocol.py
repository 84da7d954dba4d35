"""Similarity to the text of the review's protocol: its question, or the criteria of eligibility."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.errors import one_of
from layersel.tasks.screening.heads.head import Head, Scorer
from layersel.tasks.screening.heads.spreading import VECTORS, VIEWS

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.tasks.screening.heads.examples import Examples
    from layersel.tasks.screening.heads.pool import Pool


@dataclass
class Protocol(Head):
    """The cosine of each record to the protocol; no label says anything."""

    view: str = VECTORS
    """What is compared: the encoder's vectors, or tfidf, whose document frequencies are the pool's."""

    needs_excluded: ClassVar[bool] = False
    needs_protocol: ClassVar[bool] = True

    def fit(self, examples: "Examples") -> Scorer:
        """Keeps the protocol."""
        from torch import from_numpy
        from torch.nn.functional import normalize

        protocol = examples.protocol
        if protocol is None:
            raise TypeError("expected a protocol")
        direction_D = normalize(protocol.vector_D.double(), dim=0)

        def scores(pool: "Pool") -> "Tensor":
            if self.view == VECTORS:
                return pool.units @ direction_D
            return from_numpy((pool.tfidf @ pool.tfidf_of(protocol.text).T).toarray()[:, 0])

        return scores

    def problems(self) -> list[str]:
        """Returns a line if there is no such view."""
        return [] if self.view in VIEWS else [str(one_of("task.head.view", self.view, VIEWS))]
