"""The records that are ranked, as heads look at them; what several heads need of them is computed once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import torch
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from layersel.errors import UserError
from layersel.tasks.screening.heads.graph import neighbour_graph
from layersel.tasks.screening.heads.spreading import VECTORS

if TYPE_CHECKING:
    from layersel.tasks.screening.heads.examples import Examples

# Shapes: N records, D hidden size, F features.


@dataclass(frozen=True, eq=False)
class Pool:
    """Records to be ranked.

    Attributes:
        vectors_ND: Their vectors.
        texts: Title and abstract of each; empty for a head that scores by the vectors alone.
    """

    vectors_ND: Tensor
    texts: Sequence[str]

    @classmethod
    def of(cls, examples: "Examples", vectors_ND: Tensor, texts: Sequence[str]) -> "Pool":
        """Returns the pool of some records and, after them, of those labelled examples that are not among them.

        In a training the examples are among the records; so they are in another library, by which evaluate.py ranks.
        """
        among = set(texts)
        absent = [place for place, text in enumerate(examples.texts) if text not in among]
        return cls(
            torch.cat([vectors_ND, examples.vectors_ND[absent].to(vectors_ND.dtype)]),
            [*texts, *(examples.texts[place] for place in absent)],
        )

    def places(self, examples: "Examples") -> list[int]:
        """Returns where the examples stand."""
        return [self._first[text] for text in examples.texts]

    def included_places(self, examples: "Examples") -> list[int]:
        """Returns where the included examples stand."""
        labelled = zip(self.places(examples), examples.labels_N.tolist(), strict=True)
        return [place for place, label in labelled if label == 1]

    @cached_property
    def units(self) -> Tensor:
        """Returns the vectors at length 1, in float64."""
        return torch.nn.functional.normalize(self.vectors_ND.double(), dim=1)

    @cached_property
    def tfidf(self) -> csr_matrix:
        """Returns the TF-IDF features (N×F) in rows of length 1, in the setting of ASReview's ELAS u4.

        Terms are words of two letters or more and pairs of them, frequencies are sublinear, and what stands in more
        than 95 % of the texts is left out (asreview 3.0.8, `models/models.py`). Document frequencies come from the
        pool, whose labels stay unseen, as they do in a screening tool.

        Raises:
            UserError: No text has a word.
        """
        return _tfidf(tuple(self.texts))[1]

    def tfidf_of(self, text: str) -> csr_matrix:
        """Returns the TF-IDF features (1×F) of a text that is not in the pool, by the pool's document frequencies."""
        return _tfidf(tuple(self.texts))[0].transform([text])

    def part(self, index: int, n_parts: int) -> "Pool":
        """Returns the records as one of the layers sees them whose vectors, side by side, are theirs."""
        if n_parts not in self._parts:
            self._parts[n_parts] = [Pool(own_ND, self.texts) for own_ND in self.vectors_ND.chunk(n_parts, dim=1)]
        return self._parts[n_parts][index]

    def graph(self, views: Sequence[str], neighbours: int) -> csr_matrix:
        """Returns the graph (N×N) of the nearest neighbours by the named views."""
        key = (tuple(views), neighbours)
        if key not in self._graphs:
            features = [self.units.numpy() if view == VECTORS else self.tfidf for view in views]
            self._graphs[key] = neighbour_graph(features, neighbours)
        return self._graphs[key]

    @cached_property
    def _first(self) -> dict[str, int]:
        return {text: place for place, text in reversed(list(enumerate(self.texts)))}

    @cached_property
    def _parts(self) -> dict[int, list["Pool"]]:
        return {}

    @cached_property
    def _graphs(self) -> dict[tuple[tuple[str, ...], int], csr_matrix]:
        return {}


@lru_cache(maxsize=2)
def _tfidf(texts: tuple[str, ...]) -> tuple[TfidfVectorizer, csr_matrix]:
    """Fits on a pool, once for all the vectors that it is ranked by."""
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1, max_df=0.95)
    try:
        return vectoriser, vectoriser.fit_transform(texts)
    except ValueError as error:  # an empty vocabulary
        raise UserError(f"data: expected texts with words that tell them apart, but got none ({error})") from error
