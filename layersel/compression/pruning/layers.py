"""Layer dropping: whole layers go, and the model is a shorter one."""

import math
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import token_batches
from layersel.backbone.shorten import drop_layers
from layersel.compression.pruning.pruned import Pruned
from layersel.compression.pruning.pruning import Pruning, drawn
from layersel.data.tokens import TokenIds
from layersel.errors import UserError, one_of
from layersel.selection import scores as score_modules
from layersel.selection.score import LayerScores, Probe, ProbeScore, Score, round_half_up, score_named
from layersel.selection.select import choose_layers


@dataclass
class Layers(Pruning):
    """The layers with the lowest scores are dropped, the others run in their order.

    As in ShortGPT (Men et al. 2024), by any score of the selection group. A layer that its score excludes from the
    comparison is never dropped; of equal layers the later ones are dropped.
    """

    n: float = 0.25
    """How much to drop: a number of layers (3), or a share of them below 1 (0.25)."""
    score: str = "cka"
    """A score of the selection group that ranks layers; the lowest are dropped."""
    probe_size: int = 128
    """Records that the score looks at, drawn from all of the review; their labels are never looked at."""

    structured: ClassVar[bool] = True

    def prune(self, backbone: Backbone, tokens: Sequence[TokenIds], generator: torch.Generator) -> Pruned:
        """As `Pruning.prune`: drops layers.

        Raises:
            UserError: As many layers as there are, more than the score ranks, or what `drop_layers` refuses.
        """
        depth, before = backbone.n_layers, _size(backbone)
        count = self._count(depth)
        dropped = self._lowest(self._scores(backbone, depth - count, tokens, generator), count) if count else []
        drop_layers(backbone, dropped)
        removed = before - _size(backbone)
        return Pruned(
            dropped=dropped,
            figures={"layers dropped": dropped, "parameters removed": removed},
            note=f"layers {dropped} of {depth} dropped with {removed:,} parameters; only the others run",
        )

    def problems(self) -> list[str]:
        """A number that is none, and scores that rank no layers."""
        found = []
        if not 0 <= self.n < math.inf or (self.n > 1 and self.n != int(self.n)):
            found.append(f"pruning.n: expected a count of layers (0, 1, 2) or a share such as 0.25, but got {self.n:g}")
        if self.score not in (known := _ranking_scores()):
            return [*found, str(one_of("pruning.score", self.score, known))]
        return found + [problem.replace("selection.", "pruning.", 1) for problem in self._scorer().problems()]

    def components(self) -> list[object]:
        """The score that ranks the layers."""
        return [self._scorer()]

    def _count(self, depth: int) -> int:
        count = max(round_half_up(self.n * depth), 1) if 0 < self.n < 1 else int(self.n)
        if count >= depth:
            raise UserError(f"pruning.n: expected fewer than the {depth} layers of this model, but got {self.n:g}")
        return count

    def _scorer(self) -> Score:
        scorer = score_named(self.score)
        if isinstance(scorer, ProbeScore):
            scorer.probe_size = self.probe_size
        return scorer

    def _scores(
        self, backbone: Backbone, kept: int, tokens: Sequence[TokenIds], generator: torch.Generator
    ) -> LayerScores:
        scorer = self._scorer()
        scorer.n = kept  # spread layers depend on how many
        looks = isinstance(scorer, ProbeScore)
        batches = token_batches(backbone, drawn(tokens, self.probe_size, generator)) if looks else []
        return scorer.scores(backbone, Probe(batches, generator))

    def _lowest(self, scores: LayerScores, count: int) -> list[int]:
        ranked = ~scores.values_L.isnan()
        if count > int(ranked.sum()):
            reasons = "; ".join(scores.excluded.values()) or "the records are all alike there"
            raise UserError(
                f"pruning.n: expected at most the {int(ranked.sum())} layers that score {self.score} ranks, "
                f"but got {self.n:g} ({reasons})"
            )
        return choose_layers(-scores.values_L, count, excluded=_indices(~ranked))


def _indices(chosen_L: Tensor) -> set[int]:
    return set(chosen_L.nonzero().flatten().tolist())


def _size(backbone: Backbone) -> int:
    return sum(parameter.numel() for parameter in backbone.model.parameters())


def _ranking_scores() -> list[str]:
    """Scores of the selection group that do not fix the number of layers themselves."""
    names = [module.name for module in pkgutil.iter_modules(score_modules.__path__)]
    return sorted(name for name in names if score_named(name).takes_n)
