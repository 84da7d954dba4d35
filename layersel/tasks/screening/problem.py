"""One review under screening: its few-shot task, its texts, and what a set of vectors is worth for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from layersel.data.reviews.records import Review
from layersel.data.reviews.source import Source
from layersel.data.tokens import TokenizedTexts, record_text
from layersel.metrics import screening_metrics
from layersel.runs.fingerprints import text_fingerprint
from layersel.seeding import stream
from layersel.tasks.screening.baseline import tfidf_scores
from layersel.tasks.screening.export import write_ranking
from layersel.tasks.screening.few_shot import FewShot
from layersel.tasks.screening.head import LogisticHead
from layersel.tasks.screening.module import Screening


@dataclass(frozen=True)
class Screened:
    """A review and the split of its records under one seed."""

    review: Review
    split: FewShot

    @classmethod
    def load(cls, source: Source, seed: int) -> "Screened":
        """Read the review and draw the records to learn from."""
        review = source.load()
        return cls(review, FewShot.draw(review, source, stream(seed, "split")))

    def labels(self, indices: list[int]) -> Tensor:
        """Labels of the records with these indices."""
        return self.split.labels[indices]

    def head(self, vectors_ND: Tensor, task: Screening) -> LogisticHead:
        """The head that the labelled records' vectors give."""
        train = self.split.train
        return LogisticHead.fit(vectors_ND[train], self.labels(train), task.head_c, task.normalize)

    def tfidf_scores(self) -> Tensor:
        """Scores (N) of all records by the baseline without an encoder."""
        words = [record_text(record, " ") for record in self.review.records]
        return tfidf_scores(words, self.split.train, self.labels(self.split.train))

    def metrics(self, scores_N: Tensor, prefix: str = "") -> dict[str, Any]:
        """The metrics of a score for each record, over the test records."""
        test = self.split.test
        return {
            f"{prefix}{name}": value for name, value in screening_metrics(scores_N[test], self.labels(test)).items()
        }

    def counts(self) -> dict[str, int]:
        """How many records the metrics are of."""
        return {"n_test": len(self.split.test), "n_included": int(self.labels(self.split.test).sum())}

    def write_ranking(self, path: Path, scores_N: Tensor) -> None:
        """All records that were not learnt from, the likeliest first."""
        rest = self.split.rest
        write_ranking(path, [self.review.records[index] for index in rest], scores_N[rest].tolist())

    def learnt_records(self, texts: TokenizedTexts) -> list[dict[str, Any]]:
        """What was learnt from: identifier, label and a hash of the words."""
        records = self.review.records
        return [
            {"id": records[index].id, "label": records[index].label, "text": text_fingerprint(texts.texts[index])}
            for index in self.split.train
        ]
