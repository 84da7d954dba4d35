"""One review under screening: which records are learnt from, and what a set of vectors is worth for the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import PreTrainedTokenizerBase

from layersel.backbone.backbone import Backbone
from layersel.backbone.prefix import PrefixCache
from layersel.data.reviews.duplicates import find_duplicates
from layersel.data.reviews.records import Record, Review
from layersel.data.source import Dataset
from layersel.data.tokens import TokenizedTexts, separator_of
from layersel.errors import UserError
from layersel.metrics import difference_interval, gain_curve, screening_metrics
from layersel.runs.fingerprints import flat_options, text_fingerprint
from layersel.runs.store import Store
from layersel.seeding import stream
from layersel.tasks.curves import LENGTHS, Curves
from layersel.tasks.problem import Outcome, Problem, Subject
from layersel.tasks.screening.by_label import length_quantiles
from layersel.tasks.screening.datamodule import ScreeningData
from layersel.tasks.screening.heads.examples import Examples, FittedHead, ProtocolText
from layersel.tasks.screening.heads.head import Scorer, check_protocol
from layersel.tasks.screening.heads.pool import Pool
from layersel.tasks.screening.losses.loss import Unlabelled
from layersel.tasks.screening.module import ContrastiveScreening
from layersel.tasks.screening.options import HEAD, RANKING, Screening
from layersel.tasks.screening.ranking import write_ranking
from layersel.tasks.screening.split import few_shot_split
from layersel.tasks.task import FEWEST_WITNESSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ScreeningOutcome(Outcome):
    """What a ranking of the records is worth.

    Attributes:
        scores: A score (N, float64) for every record, higher = likelier included.
        vectors: The vectors (N×D) of the records.
    """

    scores: Tensor = field(default_factory=lambda: torch.empty(0))
    vectors: Tensor = field(default_factory=lambda: torch.empty(0, 0))


class ScreeningProblem(Problem):
    """A review and the split of its records under one seed.

    Args:
        task: The options.
        dataset: The review.
        train: Indices of the labelled records that are learnt from.
        test: Indices of all other labelled records; metrics are of these.

    Attributes:
        unlabelled: Indices of all records but the training ones; these are ranked.
        labels: The label of every record, −1 where unknown.
    """

    def __init__(self, task: Screening, dataset: Review, train: Sequence[int], test: Sequence[int]):
        self.task: Screening = task
        self.dataset: Review = dataset
        self.train, self.test = list(train), list(test)
        learnt = set(train)
        self.unlabelled = [index for index in range(len(dataset.records)) if index not in learnt]
        self._log_odds: dict[FittedHead, Scorer] = {}
        self.labels = torch.tensor([-1 if label is None else label for label in dataset.labels])

    @classmethod
    def draw(cls, task: Screening, dataset: Dataset, seed: int | None) -> "ScreeningProblem":
        """Draws the training records of each class; where unlabelled records wait, none need be left to test on.

        Without a seed nothing is learnt from, and all labelled records are tested on.
        """
        if not isinstance(dataset, Review):
            raise UserError(f"data: expected a review for task={task.name}, but got {dataset.name}; give data=table")
        if seed is None:
            return cls(task, dataset, [], [index for index, label in enumerate(dataset.labels) if label is not None])
        if dataset.report.no_labels:
            raise UserError(dataset.report.no_labels)
        spare = 0 if None in dataset.labels else 1
        split = few_shot_split(dataset.labels, task.shots, stream(seed, "split"), task.if_too_few, spare)
        n_included = sum(dataset.labels[index] == 1 for index in split.train)
        for option, least in (("loss", task.loss.min_included), ("head", task.head.min_included)):
            if n_included < least:
                raise UserError(
                    f"task.shots: this task.{option} needs {least} or more included records to learn from, but got "
                    f"{n_included}; give more, or label more"
                )
        check_protocol(task.head, dataset, "task.head")
        for name, head in task.compared_heads().items():
            check_protocol(head, dataset, f"task.other_heads={name}")
        return cls(task, dataset, split.train, split.test)

    def lines(self) -> list[str]:
        """Returns what was read, how it is split, and how many test records every method ranks for free."""
        included = int(self.labels[self.test].sum())
        lines = self.dataset.lines()
        tested = f"{len(self.test)} to test on, {included} of them included"
        if not self.test:
            tested = f"none is left to test on, so there are no metrics; {len(self.unlabelled)} are ranked"
        lines.append(f"{len(self.train)} labelled records to learn from; {tested}")
        heads = (self.task.head, *self.task.compared_heads().values())
        if self.dataset.protocol is not None and not any(head.needs_protocol for head in heads):
            lines.append("no head looks at data.protocol; task/head=with_protocol does")
        repeated = self._n_repeated()
        if repeated:
            lines.append(
                f"{repeated} of the test records repeat a record that is learnt from; data.duplicates=drop leaves "
                "them out"
            )
        return lines

    def texts(self, tokenizer: PreTrainedTokenizerBase) -> list[str]:
        """Title and abstract of each record, with the tokenizer's separator between them, and then the protocol."""
        protocol = [] if self.dataset.protocol is None else [self.dataset.protocol]
        return [*self._texts(separator_of(tokenizer)), *protocol]

    def data(self, texts: TokenizedTexts, tokenizer: PreTrainedTokenizerBase, seed: int) -> ScreeningData:
        """Batches of the labelled records, and of the unlabelled ones if the loss wants them."""
        rest, all_tokens = self.unlabelled, texts.tokens[: len(self.labels)]  # without that of the protocol
        records, tokens = [self.dataset.records[index] for index in rest], [all_tokens[index] for index in rest]
        pool = self.task.loss.pool(Unlabelled(records, tokens, tokenizer, texts.max_length))
        return ScreeningData(all_tokens, self.train, self.labels[self.train], self.task, seed, pool)

    def module(self, backbone: Backbone) -> ContrastiveScreening:
        """Returns the contrastive training."""
        return ContrastiveScreening(backbone, self.task)

    def judge(self, subject: Subject, head: Any = None) -> ScreeningOutcome:
        """Ranks the records by the task's head and measures the other heads, fitted on the same training records."""
        if self.dataset.report.no_labels:
            raise UserError(self.dataset.report.no_labels)
        labelled = self.examples(subject)
        vectors_ND = labelled.vectors_ND
        if head is None:
            head = FittedHead.fit(self.task.head, labelled.at(self.train))
        outcome = self._outcome(self.scores(head, vectors_ND))
        metric = self.task.primary.name
        for name, other in self.task.compared_heads().items():
            scores_N = self.scores(FittedHead.fit(other, head.examples), vectors_ND)
            outcome.metrics[f"{name}_head/{metric}"] = self._outcome(scores_N).metrics[metric]
        return replace(outcome, head=head, vectors=vectors_ND)

    def references(self, store: Store, base: Outcome) -> dict[str, Outcome]:
        """Returns the rankings by ASReview's ELAS u4 and, on the pretrained model's vectors, by two heads beside it."""
        if not isinstance(base, ScreeningOutcome):
            raise TypeError("expected the outcome of a model")
        vectors_ND, heads = base.vectors, self.task.reference_heads()
        content = sha256(vectors_ND.contiguous().numpy().tobytes()).hexdigest()
        known = Examples(vectors_ND, self.labels, self.head_texts).at(self.train)
        options = [flat_options("task.head", head) for head in heads.values()]
        found = store.tensors(
            "references",
            [list(heads), options, content, self.head_texts, self.train, self.labels[self.train].tolist()],
            lambda: {name: self.scores(FittedHead.fit(head, known), vectors_ND) for name, head in heads.items()},
            code=[self.task],
        )
        return {name: self._outcome(found[name]) for name in heads}  # the store keeps no order

    def write(self, outcome: Outcome, folder: Path) -> None:
        """Writes the ranking of all records that were not learnt from, the likeliest first, and the head."""
        if not isinstance(outcome, ScreeningOutcome) or not isinstance(outcome.head, FittedHead):
            raise TypeError("expected the outcome of a model")
        folder.mkdir(parents=True, exist_ok=True)
        self._write_ranking(folder / RANKING, outcome.scores)
        outcome.head.save(folder / HEAD)

    def predict(self, subject: Subject, head: FittedHead, path: Path) -> int:
        """Writes the ranking of all records that are not learnt from."""
        self._write_ranking(path, self.scores(head, self.examples(subject).vectors_ND))
        return len(self.unlabelled)

    def examples(self, subject: Subject) -> Examples:
        """Returns all records with the model's vectors and their labels, −1 where unknown, and the protocol."""
        vectors_ND, count = subject.vectors(), len(self.dataset.records)
        text = self.dataset.protocol
        protocol = None if text is None else ProtocolText(text, vectors_ND[count])
        return Examples(vectors_ND[:count], self.labels, self.head_texts, subject.backbone.n_parts, protocol)

    def scores(self, head: FittedHead, vectors_ND: Tensor) -> Tensor:
        """Returns a score (N, float64) for each record, higher = likelier included."""
        return head.scores(vectors_ND, self.head_texts)

    @cached_property
    def head_texts(self) -> list[str]:
        """Returns title and abstract of each record as heads that look at words see them."""
        return self._texts(" ")

    def figures(self, outcomes: Mapping[str, Outcome]) -> dict[str, "Figure"]:
        """Recall against the share of records read, where the test set has included records."""
        from layersel.tasks.screening.figures import gain_curves

        tested = self._tested(outcomes)
        titled = {self.task.references.get(name, name): scores for name, scores in tested.items()}
        return {"gain": gain_curves(titled, self.labels[self.test])} if titled else {}

    def further_figures(self, outcomes: Mapping[str, Outcome], texts: TokenizedTexts) -> dict[str, "Figure"]:
        """Draws token lengths, scores, and the vectors before and after the adaptation, by label."""
        from layersel.tasks.screening.figures import score_densities, token_lengths
        from layersel.tasks.screening.vector_figures import cosine_matrices, tsne_maps

        adapted, base = outcomes["adapted"], outcomes["base"]
        models = {"pretrained encoder": base} | ({} if adapted is base else {"adapted encoder": adapted})
        vectors = {name: own.vectors for name, own in models.items() if isinstance(own, ScreeningOutcome)}
        lengths = texts.full_lengths[: len(self.labels)]
        figures = {"lengths": token_lengths(self.dataset.name, lengths, self.labels, texts.max_length)}
        tested = self._tested(models)
        if tested:
            figures["scores"] = score_densities(tested, self.labels[self.test])
        figures["similarities"] = cosine_matrices(vectors, self.labels)
        maps = tsne_maps(vectors, self.labels, self.train)
        return figures if maps is None else figures | {"tsne": maps}

    def curves(self, outcomes: Mapping[str, Outcome], texts: TokenizedTexts) -> dict[str, Curves]:
        """Returns the records' lengths, and the recall at each percent read where the test set has included records."""
        lengths = length_quantiles(texts.full_lengths[: len(self.labels)], self.labels, texts.max_length)
        labels, read = self.labels[self.test], [percent / 100 for percent in range(101)]
        recall = {
            name: [round(value, 5) for value in gain_curve(scores, labels, steps=100).tolist()]
            for name, scores in self._tested(outcomes).items()
        }
        title = "Recall against the share of records read"
        gain = {"gain": Curves(title, "share of records read", "recall", read, recall)} if recall else {}
        return {LENGTHS: lengths} | gain

    def difference_interval(self, one: Outcome, other: Outcome, generator: torch.Generator) -> tuple[float, float]:
        """Returns between what the difference of AWSS@95 lies (95 %) over resampled test records."""
        scores_N, others_N = self._tested({"one": one, "other": other}).values()
        labels_N = self.labels[self.test]
        return difference_interval(scores_N, others_N, labels_N, generator, fewest=FEWEST_WITNESSES)

    def learnt(self, texts: TokenizedTexts) -> list[dict[str, Any]]:
        """Returns the identifier, the label and the fingerprint of the text of each training record."""
        records = self.dataset.records
        return [
            {"id": records[index].id, "label": records[index].label, "text": text_fingerprint(texts.texts[index])}
            for index in self.train
        ]

    def held_out_loss(self, texts: PrefixCache) -> float:
        """Returns the mean log loss of each training record under the log-odds that the others give (leave-one-out)."""
        vectors_ND, labels_N = texts.vectors(range(len(self.train))).float().cpu(), self.labels[self.train]
        head, losses = self.task.log_odds_head, []
        for record in range(len(self.train)):
            others = torch.arange(len(self.train)) != record
            scorer = head.fit(Examples(vectors_ND[others], labels_N[others], []))
            score = scorer(Pool(vectors_ND[record : record + 1], []))
            losses.append(binary_cross_entropy_with_logits(score, labels_N[record : record + 1].double()))
        return float(torch.stack(losses).mean())

    def logits(self, head: FittedHead, texts: PrefixCache, batch: Sequence[int]) -> Tensor:
        """Returns the log-odds (N, float64) that these records are included, as a run's examples give them."""
        if head not in self._log_odds:
            self._log_odds[head] = self.task.log_odds_head.fit(head.examples)
        return self._log_odds[head](Pool(texts.vectors(batch).cpu(), []))

    def _tested(self, outcomes: Mapping[str, Outcome]) -> dict[str, Tensor]:
        """Returns the scores of the test records by outcome; none where no test record is included."""
        if not bool(self.labels[self.test].any()):
            return {}
        return {
            name: outcome.scores[self.test]
            for name, outcome in outcomes.items()
            if isinstance(outcome, ScreeningOutcome)
        }

    def _outcome(self, scores_N: Tensor) -> ScreeningOutcome:
        labels = self.labels[self.test]
        counts = {"n_test": len(self.test), "n_included": int(labels.sum())}
        return ScreeningOutcome(screening_metrics(scores_N[self.test], labels), counts, scores=scores_N)

    def _write_ranking(self, path: Path, scores_N: Tensor) -> None:
        ranked = self.unlabelled
        write_ranking(path, [self.dataset.records[index] for index in ranked], scores_N[ranked].tolist())

    def _texts(self, separator: str) -> list[str]:
        return [record_text(record, separator) for record in self.dataset.records]

    def _n_repeated(self) -> int:
        """Counts the test records that are another copy of one that is learnt from."""
        train, test = set(self.train), set(self.test)
        groups = [set(group) for group in find_duplicates(self.dataset.records)]
        return sum(len(group & test) for group in groups if group & train)


def record_text(record: Record, separator: str) -> str:
    """Title, separator, abstract (SPECTER's form); just the one of them that the record has."""
    return separator.join(part for part in (record.title, record.abstract) if part)
