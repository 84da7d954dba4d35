"""What scores share that compare a layer's input with its output over pooled states of a probe."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from layersel.errors import UserError, one_of
from layersel.selection.resampled import ResampledScore
from layersel.selection.score import LayerScores, Probe, ProbeScore
from layersel.selection.similarity_names import BLOCKS, HIDDEN_STATES, MIN_TEXTS, STATES_NAMES
from layersel.terminal.tables import note

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from layersel.backbone.backbone import Backbone

# Shapes: L layers, S bootstrap samples, N texts, D hidden size.


@dataclass
class StatesScore(ResampledScore, ProbeScore):
    """A score that compares the states before and behind each layer."""

    states: str = BLOCKS
    """What is compared: the outputs of the blocks, or the library's hidden_states, whose last one stands behind the
    model's final norm (the paper's code takes these)."""

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, the states among them."""
        found = super().problems()
        if self.states not in STATES_NAMES:
            found.append(str(one_of("selection.states", self.states, STATES_NAMES)))
        return found


@dataclass
class RepresentationScore(StatesScore):
    """Score of layer i = 1 − similarity(R_{i−1}, R_i) of the pooled outputs of the pretrained layers.

    A subclass says what of a depth is kept for all samples (`kept`), what of it some texts need (`sample`), and how
    similar two depths are by these (`similarity`).
    """

    measure: ClassVar[str]
    """The similarity's name in messages."""

    def kept(self, states_ND: "Tensor") -> Any:
        """Returns what the similarity needs of the pooled states at a depth (float32)."""
        raise NotImplementedError

    def sample(self, kept: Any, rows: "slice | Tensor") -> Any:
        """Returns what `kept` is for some of the texts only."""
        raise NotImplementedError

    def similarity(self, before: Any, after: Any) -> "Tensor":
        """Computes the similarity (0-dimensional, float64) of the same sample at two depths."""
        raise NotImplementedError

    def check(self, kept: list[Any], n_texts: int) -> int:
        """Looks at what is kept of all depths; returns the fewest texts that can be compared.

        Raises:
            UserError: It cannot be compared.
        """
        return MIN_TEXTS

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Runs the probe once; what is kept of the L+1 depths serves the scores and every resample.

        Raises:
            UserError: There are too few texts, or some states are not finite.
        """
        from layersel.backbone.encode import layer_representations
        from layersel.selection.measures.records import check_finite

        final_norm = self.states == HIDDEN_STATES
        representations = layer_representations(backbone, probe.batches, "probing the layers", final_norm)
        n_texts = representations.shape[1]
        if n_texts < MIN_TEXTS:
            raise UserError(f"probe: expected at least {MIN_TEXTS} texts for {self.measure}, but got {n_texts}")
        check_finite(representations, self.name, "pooled states")
        kept = [self.kept(depth_ND) for depth_ND in representations]
        fewest = self.check(kept, n_texts)
        spread = (representations[0] - representations[0, :1]).abs().max()
        constant = bool(spread <= 1e-5 * representations[0].abs().max())  # up to rounding, if a projection makes it
        values_L = self._importance(kept, slice(None))
        resampled_SL = self._resampled(kept, n_texts, fewest, probe.generator)
        if not constant:
            return LayerScores(values_L, {}, resampled_SL)
        for scores in (values_L, *([] if resampled_SL is None else resampled_SL)):
            scores[0] = self.of_constant_input(backbone.pooling)
        excluded = {0: "its input, the pooled embedding, is the same for every text, as of [CLS]: nothing to compare"}
        return LayerScores(values_L, excluded if values_L[0].isnan() else {}, resampled_SL)

    def of_constant_input(self, pooling: str) -> float:
        """Returns the score of a first layer whose input, pooled so, is the same for every text; NaN for none."""
        return math.nan

    def _importance(self, kept: list[Any], rows: "slice | Tensor") -> "Tensor":
        import torch

        samples = [self.sample(own, rows) for own in kept]
        return torch.stack([1 - self.similarity(before, after) for before, after in pairwise(samples)])

    def _resampled(self, kept: list[Any], n_texts: int, fewest: int, generator: "torch.Generator") -> "Tensor | None":
        """Computes the importance in random halves of the texts, as a text drawn twice would be two equal ones.

        A mean of half of N texts, drawn without repeats, varies as that of N texts of other probes does (Politis,
        Romano and Wolf, Subsampling (1999), section 2.2); of a larger share it would vary less.
        """
        import torch

        half = n_texts // 2
        if self.bootstrap == 0:
            return None
        if half < fewest:
            note(
                f"probe: half of {n_texts} texts are fewer than the {fewest} that {self.name} needs, so that nothing "
                "tells how stable the choice is; use more texts, or what needs fewer",
                once=True,
            )
            return None
        halves = [torch.randperm(n_texts, generator=generator)[:half] for _ in range(self.bootstrap)]
        return torch.stack([self._importance(kept, rows) for rows in halves])

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, a probe of too few texts among them."""
        found = super().problems()
        if self.probe_size < MIN_TEXTS:
            size = f"at least {MIN_TEXTS} for {self.measure}"
            found.append(f"selection.probe_size: expected {size}, but got {self.probe_size}")
        return found
