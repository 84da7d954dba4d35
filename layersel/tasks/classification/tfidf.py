"""A reference without an encoder: logistic or ridge regression on TF-IDF of words and pairs of words."""

import warnings
from collections.abc import Sequence

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits
from torch import Tensor


def tfidf_predictions(
    texts: Sequence[str], known: Sequence[int], targets_N: Tensor, of_classes: bool, balanced: bool
) -> Tensor:
    """Returns the predicted class or number of all texts (float64), learnt from those at `known`.

    Args:
        texts: All texts.
        known: Indices of those that are learnt from.
        targets_N: The classes or the numbers of these.
        of_classes: Whether they are classes.
        balanced: Whether each class weighs the same.
    """
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    inputs, targets = vectorizer.fit([texts[index] for index in known]).transform(texts), targets_N.numpy()
    weights = "balanced" if balanced else None
    model = LogisticRegression(C=10.0, class_weight=weights, max_iter=1000) if of_classes else Ridge(alpha=1.0)
    with warnings.catch_warnings(), threadpool_limits(torch.get_num_threads()):
        warnings.simplefilter("ignore", ConvergenceWarning)
        predicted = model.fit(inputs[list(known)], targets).predict(inputs)
    return torch.from_numpy(predicted).double()
