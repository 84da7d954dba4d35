"""CKA importance: how much a layer changes the representation of the texts (Ogawa et al. 2026)."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import layer_representations
from layersel.errors import UserError, one_of
from layersel.selection.score import LayerScores, Probe, ProbeScore
from layersel.selection.similarity import KERNELS, MIN_RECORDS, cka_from_grams


@dataclass
class CKA(ProbeScore):
    """Importance of layer i = 1 − CKA(R_{i−1}, R_i) of the pooled outputs of the pretrained layers.

    Reference: Ogawa et al. 2026, "Layer-wise LoRA fine-tuning: a similarity metric approach".
    """

    kernel: str = "linear"
    """Kernel of the similarity: linear or rbf."""
    debiased: bool = False
    """Use the unbiased HSIC of Song et al.; the biased one is inflated when the probe is small against the width."""
    bootstrap: int = 100
    """Resamples of the probe for the stability of the ranking; 0 = none."""

    def scores(self, backbone: Backbone, probe: Probe) -> LayerScores:
        """One pass over the probe; the Gram matrices of the L+1 depths serve the scores and every resample."""
        representations = layer_representations(backbone, probe.batches, "probing the layers")
        n_texts = representations.shape[1]
        if n_texts < MIN_RECORDS:
            raise UserError(f"probe: expected at least {MIN_RECORDS} texts for CKA, but got {n_texts}")
        grams = [KERNELS[self.kernel](depth_ND) for depth_ND in representations]
        spread = (representations[0] - representations[0, :1]).abs().max()
        constant = bool(spread <= 1e-5 * representations[0].abs().max())  # up to rounding, if a projection makes it
        excluded = (
            {0: "its input, the pooled embedding, is the same for every text (CLS): nothing to compare"}
            if constant
            else {}
        )
        values_L = self._importance(grams, slice(None))
        values_L[list(excluded)] = torch.nan
        return LayerScores(values_L, excluded, self._resampled(grams, probe.generator))

    def _importance(self, grams: list[Tensor], rows: slice | Tensor) -> Tensor:
        picked = [gram[rows][:, rows] for gram in grams]
        return torch.stack([1 - cka_from_grams(before, after, self.debiased) for before, after in pairwise(picked)])

    def _resampled(self, grams: list[Tensor], generator: torch.Generator) -> Tensor | None:
        """Bootstrap samples without their repeats: a text drawn twice would be a pair of identical ones."""
        if self.bootstrap == 0:
            return None
        n = len(grams[0])
        draws = torch.randint(n, (self.bootstrap, n), generator=generator)
        samples = [rows for draw in draws if len(rows := draw.unique()) >= MIN_RECORDS]
        return torch.stack([self._importance(grams, rows) for rows in samples]) if samples else None

    def problems(self) -> list[str]:
        """As `ProbeScore.problems`, and the kernel, the size of the probe and the number of resamples."""
        found = super().problems()
        if self.kernel not in KERNELS:
            found.append(str(one_of("selection.kernel", self.kernel, KERNELS)))
        if self.probe_size < MIN_RECORDS:
            found.append(f"selection.probe_size: expected at least {MIN_RECORDS} for CKA, but got {self.probe_size}")
        if self.bootstrap < 0:
            found.append(f"selection.bootstrap: expected 0 or more, but got {self.bootstrap}")
        return found
