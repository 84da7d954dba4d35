"""Hidden states of the frozen prefix, computed once and kept, within bounds, for every later pass."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from layersel.backbone.backbone import Backbone, Batch
from layersel.data.tokens import TokenIds


@dataclass(frozen=True)
class Entered:
    """What is known of a text, or a batch of them, where it enters a layer.

    Attributes:
        states: The hidden states that enter it, T×D or B×T×D.
        lower: The pooled outputs of the K layers below it that vectors are made of, K×D or B×K×D.
    """

    states: Tensor
    lower: Tensor

    def copied(self) -> "Entered":
        """Returns a copy without gradients: a view would keep its whole batch alive."""
        return Entered(self.states.detach().clone(), self.lower.detach().clone())


States = dict[int, Entered]
"""What enters a layer, of texts by their index; real tokens only."""


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

    def states(self, content: Hashable, layer: int) -> Mapping[int, Entered]:
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
    other texts are computed again. Where vectors are made of layers below `start` too, their pooled outputs are kept
    along, one vector a text and layer. In a memory that outlives the cache, what enters the layers right below `start`
    is left too, as far as there is room: a later cache may start there.

    Args:
        backbone: Encodes the texts.
        tokens: Token ids of each text.
        start: The first layer that may change; 0 means that there is no prefix and nothing is kept.
        max_bytes: The most memory that all of `memory` may use.
        memory: Keeps the states; None = a memory of this cache alone.
        content: Identifies, in `memory`, the texts in their order, the pretrained model with the layers that vectors
            are made of, its precision and its device.
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
        """Computes the vectors (texts × V) of the texts with these indices; gradients reach the suffix only."""
        groups = self.batches(texts)
        rows = {text: row for row, text in enumerate(text for group in groups for text in group)}
        return torch.cat([self.batch_vectors(group) for group in groups])[[rows[text] for text in texts]]

    def fill(self, texts: Sequence[int]) -> None:
        """Computes what enters layer `start` for these texts before it is needed, as far as there is room."""
        if self.start == 0:
            return
        for group in self.batches(texts):
            with torch.no_grad():
                self._prefix(group, self._batch(group))
            if group[0] not in self.memory.states(self.content, self.start):
                return

    def batch_last_states(self, texts: Sequence[int]) -> Tensor:
        """Computes the last hidden states (B×T×D) of texts that make one batch, padded on the right."""
        batch = self._batch(texts)
        states = None if self.start == 0 else self._prefix(texts, batch).states
        return self.backbone.last_states(batch, self.start, states)

    def batch_vectors(self, texts: Sequence[int]) -> Tensor:
        """Computes the vectors of texts that make one batch."""
        batch = self._batch(texts)
        if self.start == 0:
            return self.backbone(batch)  # type: ignore[no-any-return]
        entered = self._prefix(texts, batch)
        return self.backbone(batch, self.start, entered.states, entered.lower.unbind(1))  # type: ignore[no-any-return]

    def _batch(self, texts: Sequence[int]) -> Batch:
        return self.backbone.batch([self.tokens[text] for text in texts])

    def _prefix(self, texts: Sequence[int], batch: Batch) -> Entered:
        kept = self.memory.states(self.content, self.start)
        missing = [text for text in texts if text not in kept]
        if len(missing) == len(texts):
            return self._compute(texts, batch)
        states = {text: kept[text] for text in texts if text in kept}
        if missing:
            states |= self._real_tokens(missing, self._compute(missing, self._batch(missing)))
        return self._padded(texts, states)

    def _compute(self, texts: Sequence[int], batch: Batch) -> Entered:
        with torch.no_grad():
            entered = self._from_below(texts, batch)
        self._keep(self._real_tokens(texts, entered))
        return entered

    def _from_below(self, texts: Sequence[int], batch: Batch) -> Entered:
        """Starts at the highest layer whose states are known, so that only the layers between are run."""
        for layer in self.memory.below(self.content, self.start):
            states = self.memory.states(self.content, layer)
            if all(text in states for text in texts):
                entered = self._padded(texts, states)
                for between in range(layer, self.start):
                    self._leave(between, texts, entered)
                    states_BTD = self.backbone.advance(batch, between, entered.states)
                    entered = self._entered(between + 1, states_BTD, batch, entered)
                return entered
        return self._from_the_texts(texts, batch)

    def _from_the_texts(self, texts: Sequence[int], batch: Batch) -> Entered:
        entered: Entered | None = None

        def see(layer: int, states_BTD: Tensor) -> None:
            nonlocal entered
            entered = self._entered(layer, states_BTD, batch, entered)
            self._leave(layer, texts, entered)

        return self._entered(self.start, self.backbone.prefix(batch, self.start, see), batch, entered)

    def _entered(self, layer: int, states_BTD: Tensor, batch: Batch, before: Entered | None) -> Entered:
        """Adds the output of the layer below `layer`, if vectors are made of it, to what was known `before` that."""
        lower_BKD = states_BTD[:, :0] if before is None else before.lower
        if layer - 1 in self.backbone.vector_layers:
            pooled_BD = self.backbone.pool(states_BTD, batch["attention_mask"])
            lower_BKD = torch.cat([lower_BKD, pooled_BD.unsqueeze(1)], dim=1)
        return Entered(states_BTD, lower_BKD)

    def _padded(self, texts: Sequence[int], states: Mapping[int, Entered]) -> Entered:
        known, device = [states[text] for text in texts], self.backbone.device
        return Entered(
            pad_sequence([own.states.to(device) for own in known], batch_first=True),
            torch.stack([own.lower.to(device) for own in known]),
        )

    def _real_tokens(self, texts: Sequence[int], entered: Entered) -> States:
        return {
            text: Entered(entered.states[row, : len(self.tokens[text])], entered.lower[row])
            for row, text in enumerate(texts)
        }

    def _keep(self, states: States) -> None:
        """Keeps all of a batch or nothing: what a text is batched with decides its last bits."""
        size = _size(states)
        if self.memory.entry_bytes(self.content, self.start) + size > self.max_bytes:
            return
        self.memory.make_room(self.max_bytes - size)
        self._add(self.start, states)

    def _leave(self, layer: int, texts: Sequence[int], entered: Entered) -> None:
        """Keeps what enters a layer below, unless it is kept already or something would be forgotten for it."""
        if self._left_from is None:
            self._left_from = self._lowest_with_room(entered.states[0, 0])
        if not self._left_from <= layer < self.start or texts[0] in self.memory.states(self.content, layer):
            return
        states = self._real_tokens(texts, entered)
        if self.memory.used_bytes() + _size(states) <= self.max_bytes:
            self._add(layer, states)

    def _lowest_with_room(self, state_D: Tensor) -> int:
        """Returns the lowest layer from which on up to `start` every layer's input can be kept for all texts."""
        pooled = sum(layer < self.start for layer in self.backbone.vector_layers)
        of_one_layer = sum(len(ids) + pooled for ids in self.tokens) * state_D.numel() * state_D.element_size()
        room = self.max_bytes - self.memory.used_bytes()
        return max(self.start + 1 - room // of_one_layer, 1)

    def _add(self, layer: int, states: States) -> None:
        self.memory.add(self.content, layer, {text: entered.copied() for text, entered in states.items()})


def _size(states: States) -> int:
    return sum(tensor.numel() * tensor.element_size() for own in states.values() for tensor in (own.states, own.lower))
