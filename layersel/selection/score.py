"""What a layer score is: from a backbone and probe batches to one number for each layer, higher = adapt it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from layersel.backbone.projection_names import PROJECTIONS
from layersel.config import Choice
from layersel.errors import UserError, one_of
from layersel.selection.named import kind_named, names_in

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from layersel.backbone.backbone import Backbone, Batch

# Shapes: L layers, S bootstrap samples; O outputs and I inputs of a weight matrix, R rank.

SCORES = "layersel.selection.scores"

RANDOM, FIRST = "random", "first"
DRAWS = (RANDOM, FIRST)
"""The names of the ways to take a probe out of all texts."""

STATES = "states"
"""A score that needs these looks at hidden states of unlabelled texts."""
GRADIENTS = "gradients"
"""A score that needs these looks at gradients of the task's loss."""
LABELS = "labels"
"""A score that needs these looks at labelled batches."""
WARM_UP = "warm_up"
"""A score that needs this looks at the model after a training with LoRA in every layer."""


@dataclass(frozen=True)
class WarmedUp:
    """What a score looks at while the backbone carries a trained LoRA in every layer.

    Attributes:
        factors: scale·B (O×R) and A (R×I) by the full name of each adapted linear module; ΔW = scale·B·A.
        loss: Gives the task's loss of one of the probe's labelled batches as `Probe.loss` does, with the LoRA and
            whatever else has been trained beside it.
        without: Makes a block for the index of a layer, within which that layer has its pretrained weights.
    """

    factors: "Mapping[str, tuple[Tensor, Tensor]]"
    loss: "Callable[[Any], Tensor | None]"
    without: Callable[[int], AbstractContextManager[object]]

    def linears(self, backbone: "Backbone") -> "list[dict[str, nn.Module]]":
        """Returns the linear modules of each layer that carry a LoRA, without it, by their full names."""
        from layersel.backbone.layers import find_linear

        return [
            {name: linear for name, linear in linears.items() if name in self.factors}
            for linears in find_linear(backbone.model)
        ]


WarmUps = Callable[[int | None, int | None, list[str] | None], AbstractContextManager[WarmedUp]]
"""Makes a block within which the backbone carries the LoRA, from the options `steps`, `rank` and `projections` of a
`WarmUpScore`; before and after it the backbone is the pretrained one."""


@dataclass(frozen=True)
class Probe:
    """What a score may look at.

    Attributes:
        batches: Unlabelled token batches.
        generator: Makes the score's draws.
        labelled: Batches of what the task learns from; none if there are no labels.
        loss: Gives the task's loss (0-dimensional, with gradients) of one of `labelled` through the backbone, or None
            where it is undefined; None if the task has no loss to offer.
        warm_up: Trains a LoRA in every layer for the length of a block; None where there is nothing to train by.
    """

    batches: "Sequence[Batch]"
    generator: "torch.Generator"
    labelled: Sequence[Any] = ()
    loss: "Callable[[Any], Tensor | None] | None" = None
    warm_up: WarmUps | None = None

    @property
    def offers(self) -> frozenset[str]:
        """The needs of scores that it meets."""
        labelled = bool(self.labelled) and self.loss is not None
        there = {STATES: bool(self.batches), LABELS: labelled, GRADIENTS: labelled, WARM_UP: self.warm_up is not None}
        return frozenset(need for need, offered in there.items() if offered)

    def losses(self, of: "Callable[[Any], Tensor | None] | None" = None) -> "Iterator[Tensor]":
        """Computes the loss of each labelled batch that has one, one after the other.

        Args:
            of: Gives the loss of a batch; None is the probe's own.

        Raises:
            UserError: No batch has one.
        """
        of = self.loss if of is None else of
        found = False
        for batch in self.labelled:
            loss = None if of is None else of(batch)
            if loss is not None:
                found = True
                yield loss
        if not found:
            raise UserError("selection.batches: no labelled batch has a loss; use more of them, or larger ones")

    def finite_losses(self, if_not_finite: str, of: "Callable[[Any], Tensor | None] | None" = None) -> list[float]:
        """Computes the losses of the labelled batches that have one, for whose evaluation mode the caller cares.

        Args:
            if_not_finite: What ends the line on a loss that is not finite.
            of: As for `losses`.

        Raises:
            UserError: No batch has a loss, or one is not finite.
        """
        losses = [float(loss) for loss in self.losses(of)]
        if not all(map(math.isfinite, losses)):
            raise UserError(f"selection: the loss is not finite{if_not_finite}")
        return losses


@dataclass(frozen=True)
class LayerScores:
    """The scores of all layers.

    Attributes:
        values_L: One number a layer, higher = adapt it; NaN for an excluded layer.
        excluded: Why a layer has no meaningful score, by index; such layers are chosen last.
        resampled_SL: The scores again for each resample of the probe, where the score offers this.
        modules: The score of each linear module by its full name, where the layers' scores are made of these.
    """

    values_L: "Tensor"
    excluded: dict[int, str] = field(default_factory=dict)
    resampled_SL: "Tensor | None" = None
    modules: dict[str, float] = field(default_factory=dict)


@dataclass
class Score(Choice):
    """A way to score layers and the budget of layers to choose by it."""

    n: float | None = 0.5
    """Budget: a number of layers (3), or a share of them below 1 (0.5)."""

    takes_n: ClassVar[bool] = True
    """Whether the budget is the user's; if not, `n` must be null."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """What it looks at, out of STATES, GRADIENTS, LABELS and WARM_UP; nothing for a control."""
    measures: ClassVar[bool] = True
    """This flag says whether the values tell something of the layers; those that only order them are shown nowhere."""
    low_is_dispensable: ClassVar[bool] = True
    """This flag says whether a layer with a low score can rather be done without, and not only without an adapter."""

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Scores every layer of `backbone`, which is left as it was."""
        raise NotImplementedError

    @property
    def n_texts(self) -> int:
        """The number of unlabelled texts that it looks at."""
        return 0

    @property
    def takes_first(self) -> bool:
        """Returns whether these are the first texts of the dataset, and not drawn."""
        return False

    @property
    def n_batches(self) -> int:
        """The number of labelled batches that it looks at."""
        return 0

    @property
    def per_example(self) -> bool:
        """Returns whether each labelled example is to be a batch of its own, where the task has a loss for one."""
        return False

    @property
    def chooses_none(self) -> bool:
        """Returns whether no layer is chosen, whatever the model."""
        return self.n == 0

    def budget(self, n_layers: int) -> int:
        """Returns how many of `n_layers` layers to adapt.

        Example:
            >>> Score(n=0.5).budget(6), Score(n=4).budget(6), Score(n=0).budget(6)
            (3, 4, 0)
        """
        if self.n is None:
            raise UserError(f"selection.n: expected a count of layers or a share such as 0.5 for {self.name}")
        count = count_of(self.n, n_layers)
        if count > n_layers:
            raise UserError(f"selection.n: expected at most {n_layers}, the layers of this model, but got {self.n:g}")
        return count

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, as far as shows without a model."""
        if not self.takes_n:
            fixed = f"contradicts selection={self.name}, which fixes the number of layers; use selection.n=null"
            return [] if self.n is None else [f"selection.n={self.n:g} {fixed}"]
        if self.n is None or not 0 <= self.n < math.inf or (self.n > 1 and self.n != int(self.n)):
            return [f"selection.n: expected a count of layers (0, 1, 2, …) or a share such as 0.5, but got {self.n}"]
        return []


@dataclass
class Control(Score):
    """A score that looks at nothing: its values are the order in which layers are chosen."""

    measures: ClassVar[bool] = False


BUDGET = ("n", "cumulative", "max_cost", "max_parameters")
"""The options of scores that decide how many layers are chosen, and no layer's score."""


def uncounted(adapter: str) -> str:
    """Returns the line on a budget of parameters for an adapter, such as "adapter=frozen", that has none by layer."""
    return (
        "selection.max_parameters: expected an adapter whose layers share nothing and can be counted before it is "
        f"placed, such as adapter=lora, but got {adapter}; use selection.n"
    )


@dataclass
class Measure(Score):
    """A score that measures layers, so that what it measures may decide how many are chosen."""

    cumulative: float | None = None
    """Instead of n (null then): the fewest layers that hold this share of the sum of all scores, such as 0.9."""
    max_cost: float | None = None
    """Highest cost of a training step, with adapters in all layers as 1: the lowest layers are left out; null = any."""
    max_parameters: int | None = None
    """Most trained parameters of the adapters together, in the order of the scores: a layer that would exceed it is
    passed over. With n=null as many layers as fit; null = any."""

    def budget(self, n_layers: int) -> int:
        """Returns how many of `n_layers` layers to adapt at most: where scores or parameters decide, all."""
        decided = self.cumulative is not None or (self.n is None and self.max_parameters is not None)
        return n_layers if decided else super().budget(n_layers)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, a share of the scores or a cost outside of (0, 1] too."""
        found = []
        if self.cumulative is not None and self.n is not None:
            found.append(f"selection.cumulative={self.cumulative:g}: expected no other budget, but got n={self.n:g}")
        elif self.cumulative is None and (self.n is not None or self.max_parameters is None):
            found = super().problems()
        if self.max_parameters is not None and self.max_parameters < 1:
            found.append(f"selection.max_parameters: expected at least 1, or null, but got {self.max_parameters}")
        for name in ("cumulative", "max_cost"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                found.append(f"selection.{name}: expected a share above 0 and up to 1, or null, but got {value:g}")
        return found


@dataclass
class ProbeScore(Measure):
    """A score that runs the model over a probe of unlabelled texts."""

    probe_size: int = 128
    """Texts in the probe, out of all of the dataset; their labels are never looked at."""
    draw: str = RANDOM
    """Which texts: random (drawn by the seed), or the first of the dataset in its order."""

    needs: ClassVar[frozenset[str]] = frozenset({STATES})

    @property
    def n_texts(self) -> int:
        """The size of the probe."""
        return self.probe_size

    @property
    def takes_first(self) -> bool:
        """Returns what `draw` says."""
        return self.draw == FIRST

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, a probe without texts among them."""
        found = super().problems()
        if self.probe_size < 1:
            found.append(f"selection.probe_size: expected at least 1, but got {self.probe_size}")
        if self.draw not in DRAWS:
            found.append(str(one_of("selection.draw", self.draw, DRAWS)))
        return found


@dataclass
class LabelledScore(Measure):
    """A score that asks for the task's loss, and its gradients, over a few labelled batches."""

    batches: int = 4
    """Labelled batches that the loss is taken of."""

    needs: ClassVar[frozenset[str]] = frozenset({LABELS, GRADIENTS})

    @property
    def n_batches(self) -> int:
        """The number of batches that the loss is taken of."""
        return self.batches

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, no batches among them."""
        count = self.batches
        return super().problems() + ([] if count >= 1 else [f"selection.batches: expected at least 1, but got {count}"])


@dataclass
class WarmUpScore(Measure):
    """A score of what a short training with a plain LoRA in every layer changes.

    The LoRA is trained as the cell's adapter would be in that many steps: by the task's loss, batches, optimizer and
    schedule. Where the cell's adapter is a kind of LoRA, it has that one's alpha/rank and dropout too (also rsLoRA's,
    whose own scale is alpha/√rank).
    """

    steps: int | None = 20
    """Training steps of the warm-up, no more than the cell's own training has; null = as many as that."""
    rank: int | None = None
    """Rank of the warm-up's LoRA; null = that of the cell's adapter if it is a kind of LoRA, else 8."""
    projections: list[str] | None = None
    """Projections that the warm-up's LoRA stands on; null = those of the cell's adapter, else query and value."""

    needs: ClassVar[frozenset[str]] = frozenset({WARM_UP})

    def warmed_up(self, probe: Probe) -> AbstractContextManager[WarmedUp]:
        """Makes a block within which the backbone carries the trained LoRA."""
        if probe.warm_up is None:
            raise RuntimeError("`score_layers` asks what the probe offers before a score uses it")
        return probe.warm_up(self.steps, self.rank, self.projections)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong: no steps, no rank, projections that no model has."""
        found = super().problems()
        for name, count in (("steps", self.steps), ("rank", self.rank)):
            if count is not None and count < 1:
                found.append(f"selection.{name}: expected at least 1, or null, but got {count}")
        if self.projections == []:
            found.append(f"selection.projections: expected some of {', '.join(PROJECTIONS)}, or null, but got none")
        unknown = [name for name in self.projections or [] if name not in PROJECTIONS]
        return found + [str(one_of("selection.projections", name, PROJECTIONS)) for name in unknown]


def score_names() -> list[str]:
    """Returns the names of all scores of the package, sorted."""
    return names_in(SCORES)


def score_named(name: str, **options: Any) -> Score:
    """Makes the score of that name with `options`.

    Raises:
        UserError: Unknown name or option; the message lists the known ones.

    Example:
        >>> score_named("last", n=3)
        Last(n=3)
    """
    kind = kind_named(SCORES, Score, "score", name)
    known = [option.name for option in fields(kind)]
    unknown = set(options) - set(known)
    if unknown:
        raise one_of(f"option of score {name!r}", min(unknown), known)
    return kind(**options)


def count_of(amount: float, total: int) -> int:
    """Returns how many of `total` a count or a share below 1 stands for: at least 1, unless it is 0.

    Example:
        >>> count_of(3, 6), count_of(0.5, 5), count_of(0.01, 6), count_of(0, 6)
        (3, 3, 1, 0)
    """
    return max(round_half_up(amount * total), 1) if 0 < amount < 1 else int(amount)


def round_half_up(value: float) -> int:
    """Rounds to the nearest integer, halves upwards: a share of .5 takes 2 of 3 layers and 3 of 5."""
    return math.floor(value + 0.5)
