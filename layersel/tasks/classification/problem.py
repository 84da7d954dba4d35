"""A dataset of labelled texts under a seed: which are learnt from, and what a head on their vectors is worth."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from layersel.backbone.backbone import Backbone
from layersel.backbone.prefix import PrefixCache
from layersel.data.source import Dataset
from layersel.data.texts.examples import Example, TextDataset
from layersel.data.tokens import TokenizedTexts
from layersel.errors import UserError
from layersel.metrics.classification import accuracy, f1, macro_f1, matthews, pearson, rmse, spearman
from layersel.metrics.resampling import resampled_difference
from layersel.runs.fingerprints import text_fingerprint
from layersel.runs.store import Store
from layersel.tasks.classification.datamodule import ClassificationData
from layersel.tasks.classification.head import LinearHead
from layersel.tasks.classification.labels import Labels, read_labels
from layersel.tasks.classification.module import ClassificationModule
from layersel.tasks.classification.options import HEAD, PREDICTIONS, Classification
from layersel.tasks.classification.predictions import write_predictions
from layersel.tasks.classification.probe import fit_probe, folds
from layersel.tasks.classification.split import Split, split
from layersel.tasks.problem import Outcome, Problem, Subject
from layersel.tasks.task import FEWEST_WITNESSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "rmse": rmse,
    "f1": f1,
}
HELD_OUT_C = 0.1
"""The inverse strength of the probe's penalty in a search of λ, where one fit must not take long."""


@dataclass(frozen=True)
class ClassificationOutcome(Outcome):
    """What the predictions of a head are worth.

    Attributes:
        outputs: Log-odds of the head's classes, or the number (N×K), for all texts; nothing for a reference.
        predicted: The indices of the predicted classes, or the predicted numbers (N), for all texts.
    """

    outputs: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    predicted: Tensor = field(default_factory=lambda: torch.empty(0))


class ClassificationProblem(Problem):
    """A dataset and the split of its examples under one seed.

    Args:
        task: The options.
        dataset: The examples.
        labels: Their labels.
        split: Which of them are for what.
        seed: Of the split and of the head's first weights.

    Attributes:
        validation: Indices of the texts that say when the training is to stop.
        targets: The index of the class or the number of every text (N), NaN where unknown.
    """

    def __init__(self, task: Classification, dataset: TextDataset, labels: Labels, split: Split, seed: int):
        self.task: Classification = task
        self.dataset: TextDataset = dataset
        self.classes, self.seed = labels.classes, seed
        self.train, self.validation, self.test = split
        self.targets = torch.tensor(labels.values, dtype=torch.float64)
        learnt = {*self.train, *self.validation}
        self.unlabelled = [index for index in range(len(dataset.examples)) if index not in learnt]

    @classmethod
    def draw(cls, task: Classification, dataset: Dataset, seed: int | None) -> "ClassificationProblem":
        """Splits the examples as the data or options say; without a seed all are tested on, or the data's test rows.

        Raises:
            UserError: A row has no text, or there is too little to learn from.
        """
        if not isinstance(dataset, TextDataset):
            raise UserError(f"data: expected texts for task={task.name}, but got {dataset.name}; give data=embedded")
        _check_texts(dataset)
        labels = read_labels(dataset)
        if seed is not None and not labels.known:
            raise UserError(f"data: expected labelled rows to learn from, but {dataset.name} has none")
        return cls(task, dataset, labels, split(task, dataset, labels, seed), seed or 0)

    def lines(self) -> list[str]:
        """Returns what was read, what the labels are, how the examples are split, and which of them repeat."""
        train, test = Counter(self._texts(self.train)), self._texts(self.test)
        split = f"{len(self.train)} examples to learn from"
        if self.validation:
            split += f", {len(self.validation)} to stop by"
        lines = [*self.dataset.lines(), self._labels_line(), f"{split}, {len(self.test)} to test on"]
        repeated = sum(text in train for text in test)
        if repeated:
            lines.append(f"{repeated} of the test examples repeat one that is learnt from, which flatters the metrics")
        return lines

    def texts(self, tokenizer: PreTrainedTokenizerBase) -> list[str]:
        """Returns the texts, those of a pair as one string, with a separator that no text has."""
        return self._texts(range(len(self.dataset.examples)))

    def tokenized(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenizedTexts:
        """Returns the token ids of texts, and of pairs as the tokenizer's own pairs; of these the longer is cut."""
        pairs = [(own.text or "", own.pair) for own in self.dataset.examples]
        return TokenizedTexts.of_pairs(self.texts(tokenizer), pairs, tokenizer, max_length)

    def data(self, texts: TokenizedTexts, tokenizer: PreTrainedTokenizerBase, seed: int) -> ClassificationData:
        """Returns batches of the examples that are learnt from."""
        return ClassificationData(texts, self.train, self.validation, self.targets, self.task.batch_size, seed)

    def module(self, backbone: Backbone) -> ClassificationModule:
        """Returns the training of the head and the adapter."""
        return ClassificationModule(backbone, self.task, self.targets[self.train], self.classes, self.seed)

    def judge(self, subject: Subject, head: Any = None) -> ClassificationOutcome:
        """Measures the predictions of a head; without one, of the linear probe of the vectors.

        The probe learns from the validation examples too, for it needs none.

        Raises:
            UserError: There are classes that the head does not know.
        """
        targets_N = self.targets
        if head is not None:
            targets_N = self._as_head_has_them(head)
            self._check_pairs(head)
        vectors_ND = subject.vectors()
        if head is None:
            known = sorted([*self.train, *self.validation])
            balanced = self.task.class_weights == "balanced"
            head = fit_probe(vectors_ND[known], self.targets[known], self.classes, balanced)
        outputs_NK = head.outputs(vectors_ND.cpu())
        predicted_N = head.predicted(outputs_NK)
        metrics = _metrics(predicted_N[self.test], targets_N[self.test], head.classes)
        return ClassificationOutcome(metrics, {"n_test": len(self.test)}, head, outputs_NK, predicted_N)

    def references(self, store: Store, base: Outcome) -> dict[str, Outcome]:
        """Returns logistic or ridge regression on TF-IDF, and the most frequent class or the mean of the numbers."""
        from layersel.tasks.classification.tfidf import tfidf_predictions

        known = sorted([*self.train, *self.validation])
        targets_N = self.targets[known]
        texts, balanced = self._texts(range(len(self.dataset.examples)), " "), self.task.class_weights == "balanced"
        constant = targets_N.mode().values if self.classes else targets_N.mean()
        learnt = (known, targets_N, bool(self.classes), balanced)
        found = store.tensors(
            "references",
            [texts, known, targets_N.tolist(), *learnt[2:]],
            lambda: {"tfidf": tfidf_predictions(texts, *learnt)},
            code=[tfidf_predictions],
        )
        return {
            "tfidf": self._reference(found["tfidf"]),
            "constant": self._reference(constant.expand(len(self.targets))),
        }

    def write(self, outcome: Outcome, folder: Path) -> None:
        """Writes the head, and what is predicted for the test examples."""
        if not isinstance(outcome, ClassificationOutcome) or not isinstance(outcome.head, LinearHead):
            raise TypeError("expected the outcome of a model")
        folder.mkdir(parents=True, exist_ok=True)
        replace(outcome.head, of_pairs=self.of_pairs).save(folder / HEAD)
        file = folder / PREDICTIONS
        write_predictions(file, self.dataset.examples, self.test, outcome.outputs, outcome.head, labelled=True)

    def predict(self, subject: Subject, head: LinearHead, path: Path) -> int:
        """Writes what is predicted for all texts that are not learnt from.

        Raises:
            UserError: They are pairs and the head has learnt from single texts, or the other way round.
        """
        self._check_pairs(head)
        outputs_NK = head.outputs(subject.vectors().cpu())
        write_predictions(path, self.dataset.examples, self.unlabelled, outputs_NK, head, labelled=False)
        return len(self.unlabelled)

    @property
    def of_pairs(self) -> bool:
        """Returns whether the examples are pairs of texts."""
        return any(own.pair is not None for own in self.dataset.examples)

    def _check_pairs(self, head: LinearHead) -> None:
        if head.of_pairs is not None and head.of_pairs != self.of_pairs:
            learnt, given = ("pairs of texts", "single texts") if head.of_pairs else ("single texts", "pairs of texts")
            hint = "records have them in the columns text and pair" if head.of_pairs else "leave the second ones out"
            raise UserError(f"data: expected {learnt}, which the run has learnt from, but got {given}; {hint}")

    def figures(self, outcomes: Mapping[str, Outcome]) -> dict[str, "Figure"]:
        """Draws the confusion matrix of the adapted model, or its numbers over the true ones."""
        from layersel.tasks.classification.figures import confusion_matrix, numbers

        adapted = outcomes["adapted"]
        if not isinstance(adapted, ClassificationOutcome) or not self.test:
            return {}
        predicted_N, true_N = adapted.predicted[self.test], self.targets[self.test]
        if self.classes:
            return {"confusion": confusion_matrix(predicted_N, true_N, self.classes)}
        return {"numbers": numbers(predicted_N, true_N)}

    def difference_interval(self, one: Outcome, other: Outcome, generator: torch.Generator) -> tuple[float, float]:
        """Returns between what the difference of the primary metric lies (95 %) over resampled test examples."""
        if not isinstance(one, ClassificationOutcome) or not isinstance(other, ClassificationOutcome):
            raise TypeError("expected the outcomes of predictions")
        true_N = self.targets[self.test]
        if len(true_N) < FEWEST_WITNESSES:
            return math.nan, math.nan
        groups_N = true_N if self.classes else torch.zeros(len(true_N))
        strata = [(groups_N == group).nonzero()[:, 0] for group in sorted(set(groups_N.tolist()))]
        return resampled_difference(
            one.predicted[self.test],
            other.predicted[self.test],
            true_N,
            strata,
            generator,
            MEASURES[self.task.primary.name],
        )

    def learnt(self, texts: TokenizedTexts) -> list[dict[str, Any]]:
        """Returns the row, the label and the fingerprint of each text that is learnt from or says when to stop."""
        examples = self.dataset.examples
        return [
            {"row": index + 1, "label": examples[index].label, "text": text_fingerprint(texts.texts[index])}
            for index in (*self.train, *self.validation)
        ]

    def held_out_loss(self, texts: PrefixCache) -> float:
        """Returns the mean loss of each example that is learnt from under the probe of the other folds."""
        vectors_ND, targets_N = texts.vectors(range(len(self.train))).double().cpu(), self.targets[self.train]
        balanced, losses = self.task.class_weights == "balanced", []
        for fitted, held_out in folds(targets_N, self.classes):
            head = fit_probe(vectors_ND[fitted], targets_N[fitted], self.classes, balanced, HELD_OUT_C)
            outputs_NK, own = head.outputs(vectors_ND[held_out]), targets_N[held_out]
            if self.classes:
                losses.append(torch.nn.functional.cross_entropy(outputs_NK, own.long(), reduction="none"))
            else:
                losses.append((outputs_NK[:, 0] - own).square())
        return float(torch.cat(losses).mean()) if losses else float("nan")

    def _reference(self, predicted_N: Tensor) -> ClassificationOutcome:
        metrics = _metrics(predicted_N[self.test], self.targets[self.test], self.classes)
        return ClassificationOutcome(metrics, {"n_test": len(self.test)}, predicted=predicted_N)

    def _as_head_has_them(self, head: LinearHead) -> Tensor:
        """Returns the targets (N), those of classes with the indices that a head has for them."""
        if head.classes == self.classes or not self.test:
            return self.targets
        if bool(head.classes) != bool(self.classes):
            kinds = ["classes" if own else "numbers" for own in (head.classes, self.classes)]
            raise UserError(f"data: expected {kinds[0]} as labels, as in the run, but got {kinds[1]}; give head=fit")
        unknown = [name for name in self.classes if name not in head.classes]
        if unknown:
            raise UserError(
                f"data: expected the classes of the run ({', '.join(head.classes[:8])}), but got {unknown[0]!r} too; "
                "give head=fit"
            )
        places = [float(head.classes.index(name)) for name in self.classes]
        return torch.tensor([value if math.isnan(value) else places[int(value)] for value in self.targets.tolist()])

    def _texts(self, indices: Sequence[int], separator: str = "\x1e") -> list[str]:
        chosen = [self.dataset.examples[index] for index in indices]
        return [(own.text or "") if own.pair is None else f"{own.text}{separator}{own.pair}" for own in chosen]

    def _labels_line(self) -> str:
        known = [value for value in self.targets.tolist() if not math.isnan(value)]
        if not self.classes:
            ends = f"{min(known):g} to {max(known):g}" if known else "none"
            return f"labels are numbers, {ends}: regression (data.labels=classes takes them as classes)"
        counts = Counter(self.classes[int(value)] for value in known)
        named = ", ".join(f"{name} {count}" for name, count in counts.most_common(8))
        more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
        return f"{len(self.classes)} classes: {named}{more}"


def _metrics(predicted_T: Tensor, true_T: Tensor, classes: Sequence[str]) -> dict[str, float]:
    """Returns the metrics of the T test examples."""
    names = ["accuracy", "macro_f1", "matthews"] if classes else ["pearson", "spearman", "rmse"]
    if len(classes) == 2:
        names.insert(1, "f1")
    return {name: MEASURES[name](predicted_T, true_T) for name in names}


def _check_texts(dataset: TextDataset) -> None:
    for row, own in enumerate(dataset.examples, start=1):
        if own.text is None or not own.text.strip():
            hint = "it has prompts or conversations, for task=causal_lm" if _is_generative(own) else "leave the row out"
            raise UserError(f"data: expected a text in every row, but row {row} of {dataset.name} has none; {hint}")


def _is_generative(example: Example) -> bool:
    return example.prompt is not None or bool(example.messages)
