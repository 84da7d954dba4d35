"""TF-IDF features of a pool of texts, in the setting of ASReview's ELAS u4."""

from collections.abc import Sequence
from functools import lru_cache

from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from layersel.errors import UserError

# Shapes: K examples, N texts, F features.


def tfidf_features(examples: Sequence[str], texts: Sequence[str]) -> tuple[csr_matrix, csr_matrix]:
    """Returns the features (K×F and N×F, rows of length 1) of the examples and of the texts.

    Terms are words of two letters or more and pairs of them, frequencies are sublinear, and what stands in more than
    95 % of the documents is left out (asreview 3.0.8, `models/models.py`). Document frequencies come from the texts,
    whose labels stay unseen, as they do in a screening tool, and from those examples that are not among them.

    Raises:
        UserError: No text has a word.
    """
    among = set(texts)
    vectorizer, features = _fitted((*texts, *(text for text in examples if text not in among)))
    return vectorizer.transform(examples), features[: len(texts)]


@lru_cache(maxsize=2)
def _fitted(pool: tuple[str, ...]) -> tuple[TfidfVectorizer, csr_matrix]:
    """Fits on a pool, once for all the heads that rank it."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1, max_df=0.95)
    try:
        return vectorizer, vectorizer.fit_transform(pool)
    except ValueError as error:  # an empty vocabulary
        raise UserError(f"data: expected texts with words that tell them apart, but got none ({error})") from error
