"""Block influence: how far a layer turns the hidden states of the texts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.errors import one_of
from layersel.selection.representations import StatesScore
from layersel.selection.score import LayerScores, Probe
from layersel.selection.similarity_names import ALL, HIDDEN_STATES, TOKENS_NAMES

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.backbone.backbone import Backbone


@dataclass
class Cosine(StatesScore):
    """Score of layer i = 1 − mean cos(h_{i−1}, h_i), h_i the states behind it; the layers that turn them most first.

    With `all` the mean is over all real tokens of all texts: ShortGPT's block influence (Men et al. 2024, "ShortGPT:
    Layers in large language models are more redundant than you expect", eq. 1). A known implementation
    (sramshetty/ShortGPT) departs: padding counts, a state of norm 0 has the cosine .5, and the sum stands for the mean.

    With `pooled` each text has the one vector that stands for it. For a decoder (`last` pooling) that is its last
    token; for an encoder it is [CLS], or the tokens' mean. LS-LoRA adapts the layers of lowest cosine at the last token
    of the prompt: of prompts with answers it is that of the answer here.
    """

    tokens: str = ALL
    """Whose states are compared: all real tokens, or the pooled vector of each text (a decoder's last token)."""

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Runs the probe once; texts are resampled by their own sums of cosines.

        Raises:
            UserError: Some states are not finite.
        """
        from layersel.selection.measures.block_influence import cosines
        from layersel.selection.measures.records import check_finite

        sums_LN, counts_N = cosines(backbone, probe.batches, self.tokens, self.states == HIDDEN_STATES)
        check_finite(sums_LN, self.name, "sums of cosines")

        def of(rows: "slice | Tensor") -> "Tensor":
            return 1 - sums_LN[:, rows].sum(dim=1) / counts_N[rows].sum()

        return LayerScores(of(slice(None)), resampled_SL=self.resampled(len(counts_N), probe.generator, of))

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, the tokens among them."""
        found = [] if self.tokens in TOKENS_NAMES else [str(one_of("selection.tokens", self.tokens, TOKENS_NAMES))]
        return super().problems() + found
