"""The baseline that needs no encoder: TF-IDF and a linear support vector machine."""

from collections.abc import Sequence

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC
from torch import Tensor


def tfidf_scores(texts: Sequence[str], train: Sequence[int], labels: Tensor) -> Tensor:
    """Scores (one a text, float64) of a linear SVM trained on the texts at `train` with `labels`.

    The setting of ASReview's ELAS u4: 1–2-grams, sublinear term frequencies, C = 0.11, balanced classes. Document
    frequencies come from all texts, whose labels stay unseen, as they do in a screening tool.
    """
    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts)
    model = LinearSVC(C=0.11, class_weight="balanced", random_state=0).fit(features[list(train)], labels.numpy())
    return torch.from_numpy(model.decision_function(features))
