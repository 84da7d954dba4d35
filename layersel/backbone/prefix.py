"""Hidden states of the frozen prefix, computed once and kept, within bounds, for every later pass."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from layersel.backbone.backbone import Backbone, Batch
from layersel.data.tokens import TokenIds

States = dict[int, Tensor]
"""Hidden states (tokens by D) of texts by their index."""


@dataclass
class _Entry:
    """The hidden states that enter one layer for one content."""

    states: States = field(default_factory=dict)
    n_bytes: int = 0


class PrefixMemory:
    """Hidden states that outlive the cache which computed them, for later caches of the same texts and the same model.

    What enters a layer, for one content, is one entry. Where there is no room, the entry that has not been used for
    longest is forgotten.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[Hashable, int], _Entry] = {}  # the latest used is last

    def states(self, content: Hashable, layer: int) -> Mapping[int, Tensor]:
        """Returns the states that enter `layer`."""
        return self._used(content, layer).states

    def add(self, content: Hashable, layer: int, states: States) -> None:
        """Adds states that enter `layer`."""
        entry = self._used(content, layer)
        entry.n_bytes += _size(states) - _size({text: entry.states[text] for text in states if text in entry.states})
        entry.states |= states

    def below(self, content: Hashable, layer: int) -> list[int]:
        """Returns the lower layers of `content` that have an entry, the highest first."""
        return sorted((own for key, own in self._entries if key == content and own < layer), reverse=True)

    def used_bytes(self) -> int:
        """Returns the bytes of all states."""
        return sum(entry.n_bytes for entry in self._entries.values())

    def entry_bytes(self, content: Hashable, layer: int) -> int:
        """Returns the bytes of the states that enter `layer`."""
        return self._used(content, layer).n_bytes

    def make_room(self, n_bytes: int) -> None:
        """Forgets entries, but for the one used last, until all take no more than `n_bytes`."""
        used = self.used_bytes()
        for key in list(self._entries)[:-1]:
            if used <= n_bytes:
                return
            used -= self._entries.pop(key).n_bytes

    def _used(self, content: Hashable, layer: int) -> _Entry:
        self._entries[content, layer] = self._entries.pop((content, layer), _Entry())
        return self._entries[content, layer]


class PrefixCache:
    """Hidden states at the input of layer `start` for a fixed list of texts.

    Layers below the lowest adapted one never change and run without dropout, so what enters that layer is the same in
    every pass. Only real tokens are kept, on the model's device, until `max_bytes` are used, of a batch all or none;
    other texts are computed again. In a memory that outlives the cache, what enters the layers right below `start` is
    left too, as far as there is room: a later cache may start there.

    Args:
        backbone: Encodes the texts.
        tokens: Token ids of each text.
        start: The first layer that may change; 0 means that there is no prefix and nothing is kept.
        max_bytes: The most memory that all of `memory` may use.
        memory: Keeps the states; None = a memory of this cache alone.
        content: Identifies, in `memory`, the texts in their order, the pretrained model, its precision and its device.
    """

    def __init__(
        self,
        backbone: Backbone,
        tokens: Sequence[TokenIds],
        start: int,
        max_bytes: int,
        memory: PrefixMemory | None = None,
        content: Hashable = None,
    ):
        self.backbone = backbone
        self.tokens = tokens
        self.start = start
        self.max_bytes = max_bytes
        self.memory = PrefixMemory() if memory is None else memory
        self.content = content
        self._left_from: int | None = start if memory is None else None  # None until a batch shows how wide states are

    def __len__(self) -> int:
        """Returns how many texts have their states in memory."""
        return len(self.memory.states(self.content, self.start))

    def batches(self, texts: Sequence[int]) -> list[list[int]]:
        """Puts the texts into the backbone's batches."""
        groups = self.backbone.batches([self.tokens[text] for text in texts])
        return [[texts[place] for place in group] for group in groups]

    def vectors(self, texts: Sequence[int]) -> Tensor:
        """Computes the vectors (texts × D) of the texts with these indices; gradients reach the suffix only."""
        groups = self.batches(texts)
        rows = {text: row for row, text in enumerate(text for group in groups for text in group)}
        return torch.cat([self.batch_vectors(group) for group in groups])[[rows[text] for text in texts]]

    def batch_vectors(self, texts: Sequence[int]) -> Tensor:
        """Computes the vectors of texts that make one batch."""
        batch = self._batch(texts)
        if self.start == 0:
            return self.backbone(batch)  # type: ignore[no-any-return]
        return self.backbone(batch, self.start, self._prefix(texts, batch))  # type: ignore[no-any-return]

    def _batch(self, texts: Sequence[int]) -> Batch:
        return self.backbone.batch([self.tokens[text] for text in texts])

    def _prefix(self, texts: Sequence[int], batch: Batch) -> Tensor:
        kept = self.memory.states(self.content, self.start)
        missing = [text for text in texts if text not in kept]
        if len(missing) == len(texts):
            return self._compute(texts, batch)
        states = {text: kept[text] for text in texts if text in kept}
        if missing:
            states |= self._real_tokens(missing, self._compute(missing, self._batch(missing)))
        return self._padded(texts, states)

    def _compute(self, texts: Sequence[int], batch: Batch) -> Tensor:
        with torch.no_grad():
            states_BTD = self._from_below(texts, batch)
        self._keep(self._real_tokens(texts, states_BTD))
        return states_BTD

    def _from_below(self, texts: Sequence[int], batch: Batch) -> Tensor:
        """Starts at the highest layer whose states are known, so that only the layers between are run."""
        for layer in self.memory.below(self.content, self.start):
            states = self.memory.states(self.content, layer)
            if all(text in states for text in texts):
                states_BTD = self._padded(texts, states)
                for between in range(layer, self.start):
                    self._leave(between, texts, states_BTD)
                    states_BTD = self.backbone.advance(batch, between, states_BTD)
                return states_BTD
        return self.backbone.prefix(batch, self.start, lambda layer, states_BTD: self._leave(layer, texts, states_BTD))

    def _padded(self, texts: Sequence[int], states: Mapping[int, Tensor]) -> Tensor:
        return pad_sequence([states[text].to(self.backbone.device) for text in texts], batch_first=True)

    def _real_tokens(self, texts: Sequence[int], states_BTD: Tensor) -> States:
        return {text: states_BTD[row, : len(self.tokens[text])] for row, text in enumerate(texts)}

    def _keep(self, states: States) -> None:
        """Keeps all of a batch or nothing: what a text is batched with decides its last bits."""
        size = _size(states)
        if self.memory.entry_bytes(self.content, self.start) + size > self.max_bytes:
            return
        self.memory.make_room(self.max_bytes - size)
        self._add(self.start, states)

    def _leave(self, layer: int, texts: Sequence[int], states_BTD: Tensor) -> None:
        """Keeps what enters a layer below, unless it is kept already or something would be forgotten for it."""
        if self._left_from is None:
            self._left_from = self._lowest_with_room(states_BTD[0, 0])
        if not self._left_from <= layer < self.start or texts[0] in self.memory.states(self.content, layer):
            return
        states = self._real_tokens(texts, states_BTD)
        if self.memory.used_bytes() + _size(states) <= self.max_bytes:
            self._add(layer, states)

    def _lowest_with_room(self, state_D: Tensor) -> int:
        """Returns the lowest layer from which on up to `start` every layer's input can be kept for all texts."""
        of_one_layer = sum(map(len, self.tokens)) * state_D.numel() * state_D.element_size()
        room = self.max_bytes - self.memory.used_bytes()
        return max(self.start + 1 - room // of_one_layer, 1)

    def _add(self, layer: int, states: States) -> None:
        self.memory.add(self.content, layer, {text: states_TD.detach().clone() for text, states_TD in states.items()})


def _size(states: States) -> int:
    return sum(states_TD.numel() * states_TD.element_size() for states_TD in states.values())
