"""CKA importance as the code of Ogawa et al. 2026 computes it."""

import math
from dataclasses import dataclass

from layersel.selection.score import FIRST
from layersel.selection.scores.cka import CKA
from layersel.selection.similarity_names import HIDDEN_STATES


@dataclass
class PaperCKA(CKA):
    """CKA of the first texts, by the library's hidden states, of which the last one stands behind the final norm.

    A decoder's texts end alike there, in a line's end (`task.template=paper`), so that their embeddings are constant.
    The code takes the CKA of a constant for 0: the first layer comes first, as in the published choices for Llama and
    Mistral. Those for encoders lack the layer whose input is the embedding of [CLS], and so does this score.

    What it leaves to other options: the paper's code rounds a share of the layers down (`selection.n`, here to the
    nearest), takes [CLS] of every encoder (`model.pooling=cls`) and all training texts there
    (`selection.probe_size`), and loads decoders in bfloat16 (`model.weights=bf16`).
    """

    draw: str = FIRST
    """Which texts: random (drawn by the seed), or the first of the dataset in its order."""
    states: str = HIDDEN_STATES
    """What is compared: the outputs of the blocks, or the library's hidden_states."""

    def of_constant_input(self, pooling: str) -> float:
        """Returns 1 for a decoder."""
        return 1.0 if pooling == "last" else math.nan
