"""Examples under a seed: those that are learnt from, those that are held out, and texts of another domain."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import category

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from layersel.backbone.backbone import Backbone
from layersel.data.source import Dataset
from layersel.data.texts.examples import TEST, TRAIN, VALIDATION, Example, TextDataset
from layersel.data.tokens import TokenizedTexts
from layersel.errors import UserError
from layersel.metrics.resampling import resampled_difference
from layersel.runs.fingerprints import text_fingerprint
from layersel.seeding import stream
from layersel.tasks.amounts import amount
from layersel.tasks.causal_lm.datamodule import AnswerData
from layersel.tasks.causal_lm.losses import text_losses
from layersel.tasks.causal_lm.module import AnswerTraining
from layersel.tasks.causal_lm.options import SAMPLES, CausalLM
from layersel.tasks.causal_lm.sample_files import write_samples
from layersel.tasks.causal_lm.samples import answered, words
from layersel.tasks.causal_lm.templates import Piece, pieces_of
from layersel.tasks.causal_lm.tokenizing import answer_ends, cuts, prompts, tokenized
from layersel.tasks.problem import Outcome, Problem, Subject
from layersel.tasks.task import FEWEST_WITNESSES
from layersel.terminal.tables import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Shapes: N held-out examples, T texts of which they are passages.

# a word, or a character of a script that is written without spaces: Thai to Khmer, kana, Han
_WORD = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|"
    r"[^\s\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)


@dataclass(frozen=True)
class AnswerOutcome(Outcome):
    """What a language model is worth.

    Attributes:
        losses_N2: The sum of the losses and the number of tokens to predict of each held-out example.
        samples: Prompts with the expected answer and the model's own.
    """

    losses_N2: Tensor = field(default_factory=lambda: torch.empty(0, 2))
    samples: list[dict[str, str]] = field(default_factory=list)


class AnswerProblem(Problem):
    """Examples, some of which are held out, and texts of another domain.

    Args:
        task: The options.
        dataset: The examples, those without anything to predict left out and plain texts divided into passages.
        train: Indices of the examples that are learnt from.
        test: Indices of those that are held out.
        retention: The texts of another domain. The ends of plain texts are not predicted: what a model learns to end
            its answers with would count as a change of how it reads.
        left_out: How many rows have nothing to predict.
        wholes: What stands in the row that each example is, or is a passage of; None if each is a row.
        repeats: How many rows are left out as they repeat one that is tested on.

    Attributes:
        unlabelled: Indices of all texts that are not learnt from; those of another domain come last.
    """

    def __init__(
        self,
        task: CausalLM,
        dataset: TextDataset,
        train: Sequence[int],
        test: Sequence[int],
        retention: Sequence[Example] = (),
        left_out: int = 0,
        wholes: Sequence[str] | None = None,
        repeats: int = 0,
    ):
        self.task: CausalLM = task
        self.dataset: TextDataset = dataset
        self.train, self.test = list(train), list(test)
        self.all = [*dataset.examples, *(replace(own, goes_on=True) for own in retention)]
        self.wholes = [own.said for own in dataset.examples] if wholes is None else list(wholes)
        self.elsewhere = list(range(len(dataset.examples), len(self.all)))
        learnt = set(train)
        self.unlabelled = [index for index in range(len(self.all)) if index not in learnt]
        self._left_out, self._repeats = left_out, repeats
        self._pieces: dict[int, list[list[Piece]]] = {}

    @classmethod
    def draw(cls, task: CausalLM, dataset: Dataset, seed: int | None) -> "AnswerProblem":
        """Draws the examples that are held out, unless the data say which; then some or all others to learn from.

        Raises:
            UserError: There is nothing to predict, too little to hold out, or nothing left to learn from.
        """
        if not isinstance(dataset, TextDataset):
            raise UserError(
                f"data: expected texts for task={task.name}, but got {dataset.name}; give data=titles or text"
            )
        if any(example.to_classify for example in dataset.examples):
            raise UserError(
                f"data: expected prompts with responses, conversations or plain texts for task={task.name}, but "
                f"{dataset.name} has texts to be classified; write labels as responses, or leave their columns out"
            )
        usable = [example for example in dataset.examples if _has_answer(example)]
        if not usable:
            raise UserError(
                f"data: expected prompts with responses, conversations or plain texts for task={task.name}, but "
                f"{dataset.name} has none of them; name their columns, or give another source"
            )
        left_out = len(dataset.examples) - len(usable)
        texts = [_passages(example, task.passage) for example in usable]
        retention = [part for own in task.retention.load().examples for part in _passages(own, task.passage)]
        divided = replace(dataset, examples=tuple(part for parts in texts for part in parts))
        ends = list(accumulate(map(len, texts)))
        own, held_out, repeats = _split(task, usable, seed)  # whole texts: a passage tells of those beside it
        train, test = (
            [place for index in chosen for place in range(ends[index] - len(texts[index]), ends[index])]
            for chosen in (own, held_out)
        )
        wholes = [own.said for own, parts in zip(usable, texts, strict=True) for _ in parts]
        return cls(task, divided, train, test, retention, left_out, wholes, repeats)

    @property
    def visible(self) -> Sequence[int]:
        """Indices of the texts that are learnt from: the others tell answers that are tested on.

        Where none is learnt from, they are those that are not tested on, or else those of another domain.
        """
        if self.train:
            return self.train
        tested = set(self.test)
        return [index for index in range(len(self.dataset.examples)) if index not in tested] or self.elsewhere

    @property
    def token_key(self) -> Any:
        """What the examples are: where an answer begins, and which passages go on, does not show in a text."""
        return [self.dataset.fingerprint(), [own.goes_on for own in self.dataset.examples]]

    def lines(self) -> list[str]:
        """Returns what was read and how it is split."""
        found = self.dataset.lines()
        if self._left_out:
            found.append(f"{counted(self._left_out, 'example')} with nothing to predict left out")
        if self._repeats:
            found.append(f"{counted(self._repeats, 'repetition')} of examples that are tested on left out")
        found.append(f"{len(self.train)} examples to learn from; {len(self.test)} to test on")
        learnt = {self.wholes[index] for index in self.train}
        repeated = sum(self.wholes[index] in learnt for index in self.test)
        if repeated:
            found.append(f"{repeated} of the test examples repeat one that is learnt from, which flatters the metrics")
        if self.elsewhere:
            found.append(f"retention: {len(self.elsewhere)} texts of {self.task.retention.name}")
        return found

    def texts(self, tokenizer: PreTrainedTokenizerBase) -> list[str]:
        """The examples as they are written for this tokenizer's model."""
        return ["".join(piece.text for piece in pieces) for pieces in self._written(tokenizer)]

    def tokenized(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenizedTexts:
        """Returns the examples' token ids, and which of them are to be predicted."""
        return tokenized(self._written(tokenizer), tokenizer, max_length)

    def token_lines(self, texts: TokenizedTexts, tokenizer: PreTrainedTokenizerBase) -> list[str]:
        """Returns how long the examples are, and of how many something is left out."""
        written, limit = self._written(tokenizer), f"at model.max_length={texts.max_length}"

        def cut(chosen: Sequence[int]) -> Counter[str]:
            lengths = [texts.full_lengths[index] for index in chosen]
            return cuts([written[index] for index in chosen], lengths, texts.max_length, tokenizer)

        used = [*self.train, *self.test]
        lines, elsewhere = [texts.lengths_line(used)], cut(self.elsewhere).total()
        found = [f"{counted(count, 'example')} {what}" for what, count in cut(used).items()]
        if found:
            lines.append(", ".join([*found, limit]))
        if elsewhere:
            lines.append(f"retention: {counted(elsewhere, 'text')} whose end is left out, {limit}")
        return lines

    def fingerprint_of(self, index: int, texts: TokenizedTexts) -> str:
        """Returns the fingerprint of what stands in the row of an example, however it is written or divided."""
        own = self.wholes[index] if index < len(self.wholes) else self.all[index].said
        return text_fingerprint(own)

    def data(self, texts: TokenizedTexts, tokenizer: PreTrainedTokenizerBase, seed: int) -> AnswerData:
        """Batches of the examples that are learnt from."""
        return AnswerData(texts, self.train, self.task, seed, answer_ends(texts, tokenizer))

    def module(self, backbone: Backbone) -> AnswerTraining:
        """Returns the training by the answers' loss."""
        return AnswerTraining(backbone, self.task)

    def judge(self, subject: Subject, head: Any = None) -> AnswerOutcome:
        """Measures the loss of the held-out answers and of the texts of another domain, and lets the model answer."""
        texts, test = subject.texts, self.test
        if not test:
            raise UserError("data: expected examples that the model has not learnt from, but it has learnt from all")
        measured = [*test, *self.elsewhere]
        losses_N2 = subject.computed(
            "token_losses",
            [measured, texts.answers],
            lambda: text_losses(subject.cache, measured, texts.answers, f"loss, {subject.name}"),
            [text_losses],
        )
        own_N2, others_N2 = torch.split(losses_N2, [len(test), len(self.elsewhere)])
        metrics = _metrics("", own_N2) | (_metrics("retention_", others_N2) if self.elsewhere else {})
        counts = {
            "n_test": len(test),
            "n_test_texts": len({self.wholes[index] for index in test}),
            "n_answer_tokens": int(own_N2[:, 1].sum()),
            "n_retention": len(self.elsewhere),
        }
        return AnswerOutcome(metrics, counts, losses_N2=own_N2, samples=self._samples(subject, test))

    def write(self, outcome: Outcome, folder: Path) -> None:
        """Writes the sample answers."""
        if not isinstance(outcome, AnswerOutcome):
            raise TypeError("expected the outcome of a language model")
        write_samples(folder / SAMPLES, outcome.samples)

    def changes(self, adapted: Outcome, base: Outcome) -> dict[str, float]:
        """Returns how far the loss on texts of another domain has risen: what the training has made it forget."""
        name = "retention_loss"
        if name not in adapted.metrics:
            return {}
        return {"retention_change": adapted.metrics[name] - base.metrics[name]}

    def tables(self, outcomes: Mapping[str, Outcome]) -> dict[str, tuple[list[str], list[list[Any]]]]:
        """Returns the sample answers of all outcomes side by side."""
        answers = {name: own.samples for name, own in outcomes.items() if isinstance(own, AnswerOutcome)}
        first = next(iter(answers.values()))
        rows = [
            [sample["prompt"], sample["expected"], *(own[place]["answered"] for own in answers.values())]
            for place, sample in enumerate(first)
        ]
        return {"samples": (["prompt", "expected", *answers], rows)} if rows else {}

    def figures(self, outcomes: Mapping[str, Outcome]) -> dict[str, "Figure"]:
        """Draws each held-out example's loss before and after."""
        from layersel.tasks.causal_lm.figures import losses_beside

        known = {name: own.losses_N2 for name, own in outcomes.items() if isinstance(own, AnswerOutcome)}
        means = {name: own_N2[:, 0] / own_N2[:, 1] for name, own_N2 in known.items()}
        return {"losses": losses_beside(means["base"], means["adapted"])}

    def difference_interval(self, one: Outcome, other: Outcome, generator: torch.Generator) -> tuple[float, float]:
        """Returns the 95 % interval of the difference of the losses over resampled held-out texts.

        Passages of one text are alike, so that a text is drawn with all of them; of fewer than `FEWEST_WITNESSES` texts
        there is no interval.
        """
        if not isinstance(one, AnswerOutcome) or not isinstance(other, AnswerOutcome):
            return math.nan, math.nan
        places = {whole: place for place, whole in enumerate(dict.fromkeys(self.wholes[index] for index in self.test))}
        if len(places) < FEWEST_WITNESSES:
            return math.nan, math.nan
        place_N = torch.tensor([places[self.wholes[index]] for index in self.test])
        ones_T2, others_T2 = (
            torch.zeros(len(places), 2, dtype=own.losses_N2.dtype).index_add(0, place_N, own.losses_N2)
            for own in (one, other)
        )

        def mean(sums_T: Tensor, counts_T: Tensor) -> float:
            return float(sums_T.sum() / counts_T.sum())

        everywhere = [torch.arange(len(places))]
        return resampled_difference(ones_T2[:, 0], others_T2[:, 0], ones_T2[:, 1], everywhere, generator, mean)

    def _written(self, tokenizer: PreTrainedTokenizerBase) -> list[list[Piece]]:
        known = self._pieces.get(id(tokenizer))
        if known is None:
            known = [pieces_of(example, tokenizer, self.task.template) for example in self.all]
            self._pieces = {id(tokenizer): known}
        return known

    def _samples(self, subject: Subject, test: Sequence[int]) -> list[dict[str, str]]:
        tokenizer, texts, chosen = subject.backbone.tokenizer, subject.texts, test[: self.task.samples]
        if tokenizer is None:
            return []
        written = self._written(tokenizer)
        found = prompts([written[index] for index in chosen], texts.max_length, tokenizer)
        asked = {index: prompt for index, prompt in zip(chosen, found, strict=True) if prompt}
        if not asked:
            return []
        given, ends, new_tokens = list(asked.values()), answer_ends(texts, tokenizer), self.task.new_tokens
        answers = subject.computed(
            "samples",
            [given, ends, new_tokens],
            lambda: answered(subject.backbone, given, ends, new_tokens, f"answering, {subject.name}"),
            [answered],
        )
        said = zip(asked.items(), words(subject.backbone, answers), strict=True)
        return [
            _sample(
                written[index],
                tokenizer.decode(prompt) if texts.full_lengths[index] > texts.max_length else None,
                self.all[index],
                answer,
            )
            for (index, prompt), answer in said
        ]


def _split(task: CausalLM, examples: Sequence[Example], seed: int | None) -> tuple[list[int], list[int], int]:
    """Returns the indices of what is learnt from and of what is tested on, and how many repeats are left out.

    Without a seed none is learnt from, and all are tested on unless the data say which. Of rows that repeat each other
    one is tested on, and the others, which are counted, are not learnt from then.
    """
    named = {split: [index for index, own in enumerate(examples) if own.split == split] for split in (TEST, VALIDATION)}
    test = named[TEST] or named[VALIDATION]
    if seed is None:
        return [], test or list(range(len(examples))), 0
    rest = [index for index, own in enumerate(examples) if own.split in (None, TRAIN)]
    generator, repeats = stream(seed, "split"), 0
    if not test:
        alike: dict[str, list[int]] = {}
        for index in rest:
            alike.setdefault(examples[index].said, []).append(index)
        groups = list(alike.values())
        order = torch.randperm(len(groups), generator=generator).tolist()
        count = amount(task.test, len(groups))
        if not 0 < count < len(groups):
            raise UserError(
                f"task.test: expected to leave some of the {len(groups)} examples to learn from and some to test on, "
                f"but got {task.test:g}"
            )
        test = sorted(groups[place][0] for place in order[:count])
        repeats = sum(len(groups[place]) - 1 for place in order[:count])
        rest = sorted(index for place in order[count:] for index in groups[place])
    if task.train is not None:
        count = amount(task.train, len(rest))
        if not 0 < count <= len(rest):
            raise UserError(
                f"task.train: expected 1 to {len(rest)} of the examples left to learn from, but got {task.train:g}"
            )
        order = torch.randperm(len(rest), generator=generator).tolist()
        rest = sorted(rest[place] for place in order[:count])
    if not rest:
        raise UserError("data: expected examples to learn from, but all of them are to be tested on")
    return rest, test, repeats


def _has_answer(example: Example) -> bool:
    if example.messages:
        return any(own.role == "assistant" and own.content.strip() for own in example.messages[1:])
    return bool((example.text or "").strip() or (example.prompt and (example.response or "").strip()))


def _passages(example: Example, most: int) -> list[Example]:
    """Returns a plain text in passages of no more than `most` words and about equal length; others as they are.

    Only the last passage ends the text.
    """
    if example.text is None or example.messages or example.prompt is not None:
        return [example]
    text = example.text
    words = [word for word in _WORD.finditer(text) if not category(word[0][0]).startswith("M")]  # accents go along
    count = math.ceil(len(words) / most)
    if count < 2:
        return [example]
    starts = [0, *(words[len(words) * place // count].start() for place in range(1, count)), len(text)]
    ends = [0, *(start - len(text[:start]) + len(text[:start].rstrip()) for start in starts[1:])]
    passages = [text[start:end].removeprefix(" ") for start, end in pairwise(ends)]
    return [replace(example, text=own, goes_on=place < count) for place, own in enumerate(passages, 1)]


def _metrics(prefix: str, losses_N2: Tensor) -> dict[str, float]:
    sums, counts = losses_N2.sum(dim=0).tolist()
    loss = sums / counts
    return {f"{prefix}loss": loss, f"{prefix}perplexity": math.exp(min(loss, 700.0))}


def _sample(pieces: Sequence[Piece], shortened: str | None, example: Example, answer: str) -> dict[str, str]:
    first = next(place for place, piece in enumerate(pieces) if piece.answer)
    prompt = "".join(piece.text for piece in pieces[:first]) if shortened is None else shortened
    expected = pieces[first].text if example.response is None else example.response
    return {"prompt": prompt, "expected": expected, "answered": answer}
