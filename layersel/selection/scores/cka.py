"""CKA importance: how much a layer changes the representation of the texts (Ogawa et al. 2026)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.errors import one_of
from layersel.selection.representations import RepresentationScore
from layersel.selection.similarity_names import KERNEL_NAMES, MIN_TEXTS
from layersel.terminal.tables import note

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class CKA(RepresentationScore):
    """Importance of layer i = 1 − CKA(R_{i−1}, R_i) of the pooled outputs of the pretrained layers.

    Reference: Ogawa et al. 2026, "Layer-wise LoRA fine-tuning: a similarity metric approach".
    """

    kernel: str = "linear"
    """Kernel of the similarity: linear or rbf."""
    debiased: bool = False
    """Use the unbiased HSIC of Song et al.; the biased one is inflated when the probe is small against the width."""

    measure: ClassVar[str] = "CKA"

    def kept(self, states_ND: "Tensor") -> "Tensor":
        """Returns the Gram matrix of the texts."""
        from layersel.selection.measures.similarity import KERNELS

        return KERNELS[self.kernel](states_ND)

    def sample(self, kept: "Tensor", rows: "slice | Tensor") -> "Tensor":
        """Returns the Gram matrix of some of the texts."""
        return kept[rows][:, rows]

    def similarity(self, before: "Tensor", after: "Tensor") -> "Tensor":
        """Computes the CKA of two Gram matrices."""
        from layersel.selection.measures.similarity import cka_from_grams

        return cka_from_grams(before, after, self.debiased)

    def check(self, kept: "list[Tensor]", n_texts: int) -> int:
        """Tells of a text that decides alone; returns the fewest texts of a sample."""
        if self.kernel == "linear":
            note(_dominating_text(kept), once=True)
        return MIN_TEXTS

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, the kernel among them."""
        found = [] if self.kernel in KERNEL_NAMES else [str(one_of("selection.kernel", self.kernel, KERNEL_NAMES))]
        return super().problems() + found


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
