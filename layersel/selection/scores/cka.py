"""CKA importance: how much a layer changes the representation of the texts (Ogawa et al. 2026)."""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from layersel.errors import UserError, one_of
from layersel.selection.kernel_names import BLOCKS, HIDDEN_STATES, KERNEL_NAMES, MIN_TEXTS, STATES_NAMES
from layersel.selection.score import LayerScores, Probe, ProbeScore
from layersel.terminal.tables import note

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from layersel.backbone.backbone import Backbone


@dataclass
class CKA(ProbeScore):
    """Importance of layer i = 1 − CKA(R_{i−1}, R_i) of the pooled outputs of the pretrained layers.

    Reference: Ogawa et al. 2026, "Layer-wise LoRA fine-tuning: a similarity metric approach".
    """

    kernel: str = "linear"
    """Kernel of the similarity: linear or rbf."""
    debiased: bool = False
    """Use the unbiased HSIC of Song et al.; the biased one is inflated when the probe is small against the width."""
    states: str = BLOCKS
    """What is compared: the outputs of the blocks, or the library's hidden_states, whose last one stands behind the
    model's final norm (the paper's code takes these)."""
    bootstrap: int = 100
    """Resamples of the probe for the stability of the choice; 0 = none."""

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Runs the probe once; the Gram matrices of the L+1 depths serve the scores and every resample."""
        import torch

        from layersel.backbone.encode import layer_representations
        from layersel.selection.similarity import KERNELS

        final_norm = self.states == HIDDEN_STATES
        representations = layer_representations(backbone, probe.batches, "probing the layers", final_norm)
        n_texts = representations.shape[1]
        if n_texts < MIN_TEXTS:
            raise UserError(f"probe: expected at least {MIN_TEXTS} texts for CKA, but got {n_texts}")
        grams = [KERNELS[self.kernel](depth_ND) for depth_ND in representations]
        if self.kernel == "linear":
            note(_dominating_text(grams), once=True)
        spread = (representations[0] - representations[0, :1]).abs().max()
        constant = bool(spread <= 1e-5 * representations[0].abs().max())  # up to rounding, if a projection makes it
        excluded = (
            {0: "its input, the pooled embedding, is the same for every text, as of [CLS]: nothing to compare"}
            if constant
            else {}
        )
        values_L = self._importance(grams, slice(None))
        values_L[list(excluded)] = torch.nan
        return LayerScores(values_L, excluded, self._resampled(grams, probe.generator))

    def _importance(self, grams: "list[Tensor]", rows: "slice | Tensor") -> "Tensor":
        import torch

        from layersel.selection.similarity import cka_from_grams

        picked = [gram[rows][:, rows] for gram in grams]
        return torch.stack([1 - cka_from_grams(before, after, self.debiased) for before, after in pairwise(picked)])

    def _resampled(self, grams: "list[Tensor]", generator: "torch.Generator") -> "Tensor | None":
        """Computes the importance in bootstrap samples without repeats: a text drawn twice would be two equal ones."""
        import torch

        if self.bootstrap == 0:
            return None
        n = len(grams[0])
        draws = torch.randint(n, (self.bootstrap, n), generator=generator)
        samples = [rows for draw in draws if len(rows := draw.unique()) >= MIN_TEXTS]
        return torch.stack([self._importance(grams, rows) for rows in samples]) if samples else None

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong: kernel, states, size of the probe among them."""
        found = super().problems()
        if self.kernel not in KERNEL_NAMES:
            found.append(str(one_of("selection.kernel", self.kernel, KERNEL_NAMES)))
        if self.states not in STATES_NAMES:
            found.append(str(one_of("selection.states", self.states, STATES_NAMES)))
        if self.probe_size < MIN_TEXTS:
            found.append(f"selection.probe_size: expected at least {MIN_TEXTS} for CKA, but got {self.probe_size}")
        if self.bootstrap < 0:
            found.append(f"selection.bootstrap: expected 0 or more, but got {self.bootstrap}")
        return found


def _dominating_text(grams: "list[Tensor]") -> str | None:
    """Returns the line on one text that has more than half of the variance at some depths; None if there is none.

    In a decoder the states of some tokens are tens of times as long as others', those of a last blank for instance.
    """
    shares = [float(gram.diag().max() / gram.trace().clamp(min=1e-300)) for gram in grams]
    many = [share for share in shares if share > 0.5]
    if not many:
        return None
    return (
        f"probe: one of {len(grams[0])} texts makes up {max(many):.0%} of the variance at {len(many)} of {len(grams)} "
        "depths, so that linear CKA compares little else; strip the texts and let them end alike, or use kernel=rbf"
    )
