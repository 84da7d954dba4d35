"""The frozen prefix is computed once: its hidden states are kept, within bounds, for every later pass."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from layersel.backbone.backbone import Backbone, Batch
from layersel.data.tokens import TokenIds


class PrefixCache:
    """Hidden states at the input of layer `start` for a fixed list of texts.

    Layers below the lowest adapted one never change and run without dropout, so what enters that layer is the same in
    every pass. Only real tokens are kept, on the model's device, until `max_bytes` are used; other texts are computed
    again.

    Args:
        backbone: Encodes the texts.
        tokens: Token ids of each text.
        start: First layer that may change; 0 means that there is no prefix and nothing is kept.
        max_bytes: Bound of the memory used.
    """

    def __init__(self, backbone: Backbone, tokens: Sequence[TokenIds], start: int, max_bytes: int):
        self.backbone = backbone
        self.tokens = tokens
        self.start = start
        self.room = max_bytes
        self._states: dict[int, Tensor] = {}

    def __len__(self) -> int:
        """How many texts have their states in memory."""
        return len(self._states)

    def batches(self, texts: Sequence[int]) -> list[list[int]]:
        """The texts in the backbone's batches."""
        groups = self.backbone.batches([self.tokens[text] for text in texts])
        return [[texts[place] for place in group] for group in groups]

    def vectors(self, texts: Sequence[int]) -> Tensor:
        """The vectors (texts × D) of the texts with these indices; gradients reach the suffix only."""
        groups = self.batches(texts)
        rows = {text: row for row, text in enumerate(text for group in groups for text in group)}
        return torch.cat([self.batch_vectors(group) for group in groups])[[rows[text] for text in texts]]

    def batch_vectors(self, texts: Sequence[int]) -> Tensor:
        """As `vectors`, of texts that make one batch."""
        batch = self._batch(texts)
        if self.start == 0:
            return self.backbone(batch)  # type: ignore[no-any-return]
        return self.backbone(batch, self.start, self._prefix(texts, batch))  # type: ignore[no-any-return]

    def _batch(self, texts: Sequence[int]) -> Batch:
        return self.backbone.batch([self.tokens[text] for text in texts])

    def _prefix(self, texts: Sequence[int], batch: Batch) -> Tensor:
        missing = [text for text in texts if text not in self._states]
        if len(missing) == len(texts):
            return self._compute(texts, batch)
        states = {text: self._states[text].to(self.backbone.device) for text in texts if text in self._states}
        if missing:
            states |= self._real_tokens(missing, self._compute(missing, self._batch(missing)))
        return pad_sequence([states[text] for text in texts], batch_first=True)

    def _compute(self, texts: Sequence[int], batch: Batch) -> Tensor:
        with torch.no_grad():
            states_BTD = self.backbone.prefix(batch, self.start)
        for text, states_TD in self._real_tokens(texts, states_BTD).items():
            self._keep(text, states_TD)
        return states_BTD

    def _real_tokens(self, texts: Sequence[int], states_BTD: Tensor) -> dict[int, Tensor]:
        return {text: states_BTD[row, : len(self.tokens[text])] for row, text in enumerate(texts)}

    def _keep(self, text: int, states_TD: Tensor) -> None:
        size = states_TD.numel() * states_TD.element_size()
        if text not in self._states and size <= self.room:
            self._states[text] = states_TD.detach().clone()
            self.room -= size
