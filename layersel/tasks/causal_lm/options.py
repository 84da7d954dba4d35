"""The options of the training of a language model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from layersel.backbone.pretrained import Pretrained
from layersel.data.source import Dataset
from layersel.data.texts.none import NoTexts
from layersel.data.texts.source import AnswerSource, TextSource
from layersel.errors import one_of
from layersel.tasks.amounts import is_amount
from layersel.tasks.causal_lm.template_names import AUTO, TEMPLATES
from layersel.tasks.task import Metric, Shown, Task

if TYPE_CHECKING:
    from layersel.tasks.causal_lm.problem import AnswerProblem

SAMPLES = "samples.jsonl"


@dataclass
class CausalLM(Task):
    """Training of a decoder by the loss of the answers' tokens, or of all tokens of plain texts."""

    train: float | None = None
    """Examples to learn from: a number, or a share below 1 of those that are not tested on; null = all of them."""
    test: float = 0.2
    """Different examples to test on: a number, or a share below 1; where the data say which these are, all of them."""
    passage: int = 250
    """Longest passage of a plain text, in words, or characters of a script without spaces: longer texts are divided."""
    template: str = AUTO
    """How a prompt and its response are written: chat (the tokenizer's own template), alpaca, paper (alpaca as the code
    of Ogawa et al. has it), plain (a blank line between them), or auto: chat if the tokenizer has a template, else
    plain."""
    learning_rate: float = 2e-4
    """The highest learning rate of AdamW."""
    weight_decay: float = 0.0
    """The weight decay of AdamW."""
    warmup: float = 0.03
    """Share of the steps in which the learning rate rises from 0."""
    schedule: str = "cosine"
    """How the learning rate goes on after that: `linear` or `cosine` down to 0, or `constant`."""
    clip: float | None = 1.0
    """Longest gradient of a step, as the norm over all trained parameters; longer ones are scaled down; null = any."""
    samples: int = 4
    """Prompts of the test set that the model answers, for people to read: samples.jsonl."""
    new_tokens: int = 48
    """The most tokens of such an answer."""
    retention: TextSource = field(default_factory=NoTexts)
    """Texts of another domain, whose loss before and after the training shows what is forgotten."""

    name: ClassVar[str] = "causal_lm"
    primary: ClassVar[Metric] = Metric("loss", "held-out loss", higher_is_better=False, beside="retention_change")
    lower_is_better: ClassVar[frozenset[str]] = frozenset(
        {"loss", "perplexity", "retention_loss", "retention_perplexity", "retention_change"}
    )
    takes: ClassVar[type] = AnswerSource
    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    witnesses: ClassVar[tuple[str, str] | None] = ("n_test_texts", "held-out texts")
    judging: ClassVar[tuple[str, ...]] = ("template", "passage", "retention")
    result_files: ClassVar[tuple[str, ...]] = (SAMPLES,)

    def problem(self, dataset: Dataset, seed: int | None) -> "AnswerProblem":
        """Draws the examples to test on; without a seed all are tested on."""
        from layersel.tasks.causal_lm.problem import AnswerProblem

        return AnswerProblem.draw(self, dataset, seed)

    def model_refusal(self, model: Pretrained) -> str | None:
        """Returns the line that refuses a model with the vectors of [CLS], which decoders have not."""
        if model.pooling != "cls":
            return None
        return (
            f"model.pooling: expected last or mean, as task={self.name} needs a decoder, but got cls, which encoders "
            "have; give model=smollm2 or another decoder"
        )

    def content(self) -> Any:
        """Returns the hash of the texts of another domain."""
        return self.retention.load().fingerprint()

    def components(self) -> list[object]:
        """Returns what reads texts beside this class."""
        return [self.retention]

    def heading(self, metrics: Mapping[str, Any]) -> str:
        """Returns what the losses are means over."""
        return f"{metrics['n_test']} held-out examples, {metrics['n_answer_tokens']} tokens to predict"

    def shown(self, folder: Path) -> Shown | None:
        """Returns what the model answers to the first prompts."""
        from layersel.tasks.causal_lm.sample_files import shown_samples

        return shown_samples(folder / SAMPLES)

    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""
        found = super().problems()
        if self.template not in TEMPLATES:
            found.append(str(one_of("task.template", self.template, TEMPLATES)))
        if not is_amount(self.test) or self.test == 0:
            found.append(f"task.test: expected a number of examples, or a share below 1, but got {self.test:g}")
        if self.train is not None and (not is_amount(self.train) or self.train == 0):
            found.append(f"task.train: expected a number of examples, a share below 1, or null, but got {self.train:g}")
        if self.passage < 1:
            found.append(f"task.passage: expected at least 1 word, but got {self.passage}")
        found += [
            f"task.{name}: expected at least {least}, but got {getattr(self, name)}"
            for name, least in (("samples", 0), ("new_tokens", 1))
            if getattr(self, name) < least
        ]
        return found
