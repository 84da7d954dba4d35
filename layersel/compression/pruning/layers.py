"""Layer dropping: whole layers are taken out, and the model becomes shorter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.compression.pruning.pruning import Pruning, drawn
from layersel.errors import UserError, one_of
from layersel.selection.score import STATES, Probe, ProbeScore, Score, round_half_up, score_named, score_names

if TYPE_CHECKING:
    import torch

    from layersel.backbone.backbone import Backbone
    from layersel.compression.pruning.pruned import Pruned
    from layersel.data.tokens import TokenIds
    from layersel.selection.score import LayerScores


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
    """Texts that the score looks at, drawn from all of the dataset; their labels are never looked at."""

    structured: ClassVar[bool] = True

    def prune(self, backbone: "Backbone", tokens: "Sequence[TokenIds]", generator: "torch.Generator") -> "Pruned":
        """Drops the layers with the lowest scores.

        Raises:
            UserError: All layers would be dropped, or more than the score ranks, or `drop_layers` refuses them.
        """
        from layersel.backbone.shorten import drop_layers
        from layersel.compression.pruning.pruned import Pruned

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
        """Returns one line for each option that is wrong: no number of layers, a score that ranks none."""
        found = []
        if not 0 <= self.n < math.inf or (self.n > 1 and self.n != int(self.n)):
            found.append(f"pruning.n: expected a count of layers (0, 1, 2) or a share such as 0.25, but got {self.n:g}")
        if self.score not in (known := _ranking_scores()):
            return [*found, str(one_of("pruning.score", self.score, known))]
        return found + [problem.replace("selection.", "pruning.", 1) for problem in self._scorer().problems()]

    def components(self) -> list[object]:
        """Returns the score that ranks the layers."""
        return [self._scorer()]

    def layers_left(self, depth: int) -> int:
        """Returns how many layers are not dropped.

        Raises:
            UserError: All would be.
        """
        return depth - self._count(depth)

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
        self, backbone: "Backbone", kept: int, tokens: "Sequence[TokenIds]", generator: "torch.Generator"
    ) -> "LayerScores":
        from layersel.backbone.encode import token_batches
        from layersel.selection.select import score_layers

        scorer = self._scorer()
        scorer.n = kept  # spread layers depend on how many
        batches = token_batches(backbone, drawn(tokens, self.probe_size, generator)) if scorer.n_texts else []
        return score_layers(scorer, backbone, Probe(batches, generator))

    def _lowest(self, scores: "LayerScores", count: int) -> list[int]:
        from layersel.selection.budget import choose_layers

        ranked = ~scores.values_L.isnan()
        if count > int(ranked.sum()):
            reasons = "; ".join(scores.excluded.values()) or "the texts are all alike there"
            raise UserError(
                f"pruning.n: expected at most the {int(ranked.sum())} layers that score {self.score} ranks, "
                f"but got {self.n:g} ({reasons})"
            )
        return choose_layers(-scores.values_L, count, excluded=set((~ranked).nonzero().flatten().tolist()))


def _size(backbone: "Backbone") -> int:
    return sum(parameter.numel() for parameter in backbone.model.parameters())


def _ranking_scores() -> list[str]:
    """Returns the names of the scores that need no labels, and whose lowest layers can be done without."""
    scores = {name: score_named(name) for name in score_names()}
    able = [name for name, score in scores.items() if score.takes_n and score.low_is_dispensable]
    return [name for name in able if scores[name].needs <= {STATES}]
