"""The encoder or decoder under study, with its layers, its pooling and its split into prefix and suffix."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutputWithPast

from layersel.backbone.combining import combination_named
from layersel.backbone.layers import find_layers, find_projections
from layersel.backbone.modes import evaluating
from layersel.backbone.partial import bypassed, entering, giving, run_until, start_at
from layersel.backbone.pooling import pooling_named
from layersel.backbone.vector_layers import CONCAT, LAST, MEAN, layers_named
from layersel.data.tokens import TokenIds, batches_by_length, collate, pad_id
from layersel.errors import UserError

# Shapes: B texts, T tokens, D hidden size, L layers, V length of a vector: D, or a multiple of it; M chosen tokens.

Batch = Mapping[str, Tensor]
"""Token ids `input_ids` and `attention_mask`, both of shape (B, T), and whatever else the model takes."""


class _LastStates(BaseModelOutputWithPast):  # type: ignore[misc]
    """Last hidden states and nothing else; some heads ask for more, such as cross attentions, only to pass it on."""

    def __getattr__(self, name: str) -> None:
        """Returns nothing for whatever is not there."""
        if name.startswith("__"):
            raise AttributeError(name)


class Backbone(nn.Module):
    """An encoder or a decoder of transformers that turns token batches into one vector for each text.

    Args:
        model: The model, with or without a head, which `logits` alone runs.
        tokenizer: Its tokenizer; needed for texts, not for ready token batches.
        pooling: `cls`, `mean` or `last`.
        max_length: Longest text in tokens; longer ones are cut.
        batch_tokens: Most tokens encoded at once, padding included.
        vector_layers: The layers whose pooled outputs make a text's vector: `last`, `all`, or numbers from 0, negative
            ones counted from the last. The last layer's output is the last hidden state, after a final norm if any.
        combine: How several layers' vectors make one: `mean` or `concat`.

    Raises:
        UserError: The pooling or the combination is unknown, the model lacks a layer, or CLS is asked for with a
            tokenizer without such a token.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        pooling: str = "cls",
        max_length: int = 512,
        batch_tokens: int = 8192,
        vector_layers: str | Sequence[int] = LAST,
        combine: str = MEAN,
    ):
        super().__init__()
        self.pool = pooling_named(pooling)
        if pooling == "cls" and tokenizer is not None and tokenizer.cls_token_id is None:
            raise UserError(
                f"pooling: 'cls' needs a [CLS] token, which the tokenizer of {type(model).__name__} lacks; "
                "use mean, or last for a decoder"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.max_length = max_length
        self.batch_tokens = batch_tokens
        self.layers = find_layers(model)[1]
        self._named_layers, self.combine = vector_layers, combine
        self._combined = combination_named(combine)
        layers_named(vector_layers, self.n_layers)
        self.projections = find_projections(model)
        names = inspect.signature(model.base_model.forward).parameters
        self._options = {"use_cache": False} if "use_cache" in names else {}

    @property
    def n_layers(self) -> int:
        """Returns L, the number of transformer layers."""
        return len(self.layers)

    @property
    def vector_layers(self) -> list[int]:
        """Returns the layers, ascending, whose pooled outputs make a text's vector."""
        return layers_named(self._named_layers, self.n_layers)

    @property
    def n_parts(self) -> int:
        """Returns of how many vectors, of a layer each and side by side, a text's vector consists."""
        return len(self.vector_layers) if self.combine == CONCAT else 1

    @property
    def device(self) -> torch.device:
        """Returns the device of the parameters."""
        return self.model.device  # type: ignore[no-any-return]

    def batch(self, tokens: Sequence[TokenIds]) -> dict[str, Tensor]:
        """Pads texts, given as token ids, to the longest of them, on the model's device."""
        pad = 0 if self.tokenizer is None else pad_id(self.tokenizer)
        return collate(tokens, pad, self.device)

    def batches(self, tokens: Sequence[TokenIds]) -> list[list[int]]:
        """Puts texts, given as token ids, into batches of like length; returns their indices.

        On a CPU padding costs more than a further batch.
        """
        overhead = 32 if self.device.type == "cpu" else 4096
        return batches_by_length([len(ids) for ids in tokens], self.batch_tokens, overhead)

    def forward(
        self, batch: Batch, start: int = 0, states: Tensor | None = None, lower: Sequence[Tensor] = ()
    ) -> Tensor:
        """Computes the vectors (B×V) of a batch.

        Args:
            batch: The texts.
            start: The first layer that runs.
            states: The hidden states (B×T×D) that enter it; None runs the whole model.
            lower: The pooled outputs (each B×D) of those layers below it that the vectors are made of.
        """
        pooled, above = list(lower), [layer for layer in self.vector_layers if layer >= start]

        def see(_: int, states_BTD: Tensor) -> None:
            pooled.append(self.pool(states_BTD, batch["attention_mask"]))

        following = [self.layers[layer + 1] for layer in above if layer + 1 < self.n_layers]
        with self._starting(start, states), entering(following, see):
            last_BTD = self._run(batch)
        if len(following) < len(above):
            see(self.n_layers, last_BTD)
        if len(pooled) != len(self.vector_layers):
            raise RuntimeError(f"expected the outputs of layers {self.vector_layers}, but got {len(pooled)} of them")
        return pooled[0] if len(pooled) == 1 else self._combined(pooled)

    def last_states(self, batch: Batch, start: int = 0, states: Tensor | None = None) -> Tensor:
        """Computes the last hidden states (B×T×D) of a batch, after a final norm if there is one; as `forward`."""
        with self._starting(start, states):
            return self._run(batch)

    def logits(self, states: Tensor) -> Tensor:
        """Computes what the model's head makes of last hidden states (M×D) of any tokens: M × vocabulary.

        The model itself does it, with whatever it scales or caps, so that only tokens that matter pass its head.
        """
        last = _LastStates(last_hidden_state=states.unsqueeze(0))
        nothing = torch.zeros(1, 1, dtype=torch.long, device=states.device)
        decoder = self.model.get_decoder()  # OPT and BART call this part of the base model; ModernBERT's is of its head
        called = decoder if isinstance(decoder, PreTrainedModel) else self.model.base_model
        with giving(called, lambda *_, **__: last):
            return self.model(input_ids=nothing, **self._options).logits.squeeze(0)  # type: ignore[no-any-return]

    def prefix(self, batch: Batch, start: int, see: Callable[[int, Tensor], None] | None = None) -> Tensor:
        """Computes the hidden states (B×T×D) that enter layer `start`; `see` is given those that enter lower ones."""
        with nullcontext() if see is None else entering(self.layers[:start], see):
            return run_until(lambda: self._run(batch), self.layers[start])

    def advance(self, batch: Batch, layer: int, states: Tensor) -> Tensor:
        """Runs `layer` alone: from the hidden states (B×T×D) that enter it to those that enter the next one.

        After the last layer these are the model's last hidden states.
        """
        with start_at(self.layers, layer, states, self._layer_arity):
            if layer + 1 == self.n_layers:
                return self._run(batch)
            return run_until(lambda: self._run(batch), self.layers[layer + 1])

    def without(self, layer: int) -> AbstractContextManager[None]:
        """Within the block the model runs without `layer`: what enters it is passed on to the next one.

        Raises:
            UserError: Skipping layers changes the output, since they pass each other more than hidden states.
        """
        return bypassed(self.layers[layer], self._layer_arity)

    def check_split(self) -> None:
        """Finds out how this model is split into its layers, for which it runs, before anything watches its modules.

        Raises:
            UserError: It cannot be split.
        """
        _ = self._layer_arity

    def pooled_states(self, batch: Batch, final_norm: bool = False) -> Tensor:
        """Computes pooled hidden states ((L+1)×B×D): each layer's input, then the last layer's output; as `see_depths`.

        Args:
            batch: The texts.
            final_norm: Whether the last one stands behind the model's final norm, if it has one, as the last of the
                library's `hidden_states` does.
        """
        pooled: list[Tensor] = []
        self.see_depths(
            batch, lambda states_BTD: pooled.append(self.pool(states_BTD, batch["attention_mask"])), final_norm
        )
        return torch.stack(pooled)

    def see_depths(self, batch: Batch, see: Callable[[Tensor], None], final_norm: bool = False) -> None:
        """Runs the model, and gives `see` the hidden states (B×T×D) of L+1 depths, one after the other.

        Args:
            batch: The texts.
            see: Is given each layer's input, then the last layer's output.
            final_norm: Whether that stands behind the model's final norm.

        Raises:
            UserError: The layers pass on something else than states of texts and tokens, or are not called as modules.
        """
        texts, length = batch["attention_mask"].shape
        seen = 0

        def check(_: int, states_BTD: Tensor) -> None:
            nonlocal seen
            if states_BTD.shape[0] != texts or states_BTD.shape[1] < length:
                raise UserError(
                    "model: expected layers that pass on states of texts and tokens, but those of "
                    f"{type(self.model).__name__} pass on another shape; it cannot be scored"
                )
            seen += 1
            see(states_BTD[:, :length])  # Longformer pads texts to its window

        def leave(_: nn.Module, __: Sequence[Any], output: Any) -> None:
            check(self.n_layers, output[0] if isinstance(output, tuple | list) else output)

        last = None if final_norm else self.layers[-1].register_forward_hook(leave)
        try:
            with entering(self.layers, check):
                states_BTD = self._run(batch)
        finally:
            if last is not None:
                last.remove()
        if final_norm:
            check(self.n_layers, states_BTD)
        if seen != self.n_layers + 1:
            raise self._uncalled(f"{seen} of {self.n_layers + 1} states; it cannot be scored")

    def train_suffix(self, start: int) -> None:
        """Puts the layers from `start` on into training mode; those below stay in evaluation mode, without dropout."""
        self.eval()
        for layer in self.layers[start:]:
            layer.train()

    def _starting(self, start: int, states: Tensor | None) -> AbstractContextManager[None]:
        """Within the block the model runs from layer `start` on, which `states` enter; None runs it whole."""
        return nullcontext() if states is None else start_at(self.layers, start, states, self._layer_arity)

    def _run(self, batch: Batch) -> Tensor:
        output = self.model.base_model(**batch, **self._options, return_dict=True)
        return output.last_hidden_state  # type: ignore[no-any-return]

    @cached_property
    def _layer_arity(self) -> int | None:
        """Returns the length of the tuple or list that a layer returns, None for a tensor: architectures differ in it.

        Raises:
            UserError: Skipping layers changes the output, since they pass each other more than hidden states, or they
                are not called as modules.
        """
        ids = torch.arange(8, device=self.device).unsqueeze(0)
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        last = self.n_layers - 1
        with evaluating(self):
            whole, arity = self._run_and_measure(batch)
            with start_at(self.layers, last, self.prefix(batch, last), arity):
                split = self._run(batch)
        if not torch.allclose(split, whole, rtol=1e-3, atol=1e-4):
            raise UserError(
                f"model: the layers of {type(self.model).__name__} pass each other more than hidden states, "
                "so none of them can be skipped; run it whole (start=0)"
            )
        return arity

    def _run_and_measure(self, batch: Batch) -> tuple[Tensor, int | None]:
        seen: list[int | None] = []
        handle = self.layers[0].register_forward_hook(
            lambda _, __, output: seen.append(len(output) if isinstance(output, tuple | list) else None)
        )
        try:
            whole = self._run(batch)
        finally:
            handle.remove()
        if not seen:
            raise self._uncalled("no states; it cannot be split into its layers")
        return whole, seen[0]

    def _uncalled(self, shown: str) -> UserError:
        """Returns the refusal of a model that does not call its layers as modules."""
        name = type(self.model).__name__
        return UserError(f"model: expected layers that are called one by one, but those of {name} show {shown}")
