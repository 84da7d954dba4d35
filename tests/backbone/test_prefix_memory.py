"""States that one cache leaves to the next change no bit of what that one computes."""

import pytest
import torch
from models import LENGTHS, STATE_BYTES, bert, ragged, seeded, tiny
from torch import Tensor
from transformers import BertModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import encode
from layersel.backbone.prefix import PrefixCache, PrefixMemory

PLENTY = 2**20


def _backbone(name: str = "bert") -> Backbone:
    return Backbone(tiny(name), None, "mean", batch_tokens=40)


def _cache(
    memory: PrefixMemory | None, start: int, max_bytes: int = PLENTY, content: str = "a", name: str = "bert"
) -> PrefixCache:
    return PrefixCache(_backbone(name), ragged(LENGTHS), start, max_bytes, memory, content)


def _layers_run(cache: PrefixCache) -> set[int]:
    """Which layers do any work while all texts are encoded."""
    cache.backbone.check_split()  # its own trial pass is not counted
    run: set[int] = set()
    for index, layer in enumerate(cache.backbone.layers):
        layer.attention.register_forward_pre_hook(lambda *_, index=index: run.add(index))
    encode(cache, "test")
    return run


def _alone(start: int, name: str = "bert") -> Tensor:
    return encode(_cache(None, start, max_bytes=0, name=name), "test")


@pytest.mark.parametrize("name", ["bert", "mpnet", "deberta", "gpt2", "modernbert", "llama"])
@pytest.mark.parametrize("starts", [(2, 2), (1, 2), (2, 1), (1, 2, 2)])
def test_no_bit_changes(name: str, starts: tuple[int, ...]) -> None:
    """The start is from states at the same layer, at a lower one, or at a higher one."""
    memory = PrefixMemory()
    for start in starts:
        assert torch.equal(encode(_cache(memory, start, name=name), "test"), _alone(start, name))


@pytest.mark.parametrize("max_bytes", [0, 1, STATE_BYTES // 3, STATE_BYTES, STATE_BYTES + 1, 2 * STATE_BYTES])
def test_bound_and_bits_in_little_memory(max_bytes: int) -> None:
    """Caches of several contents and layers stay below the bound together, and no bit depends on what was forgotten."""
    memory = PrefixMemory()
    for content, start in (("a", 1), ("a", 2), ("b", 2), ("a", 1), ("a", 2), ("b", 1)):
        cache = _cache(memory, start, max_bytes, content)
        assert torch.equal(encode(cache, "test"), _alone(start))
        assert memory.used_bytes() <= max_bytes


@pytest.mark.parametrize(
    ("first", "room", "then", "run"),
    [
        (2, PLENTY, 2, {2}),
        (1, PLENTY, 2, {1, 2}),
        (2, PLENTY, 1, {1, 2}),  # what entered it has been left on the way
        (2, 2 * STATE_BYTES - 1, 1, {0, 1, 2}),  # as far as there is room
        (2, 2 * STATE_BYTES, 1, {1, 2}),
    ],
)
def test_only_the_layers_above_run(first: int, room: int, then: int, run: set[int]) -> None:
    """Those between what is known and what is asked for, and the suffix."""
    memory = PrefixMemory()
    encode(_cache(memory, first, room), "test")
    assert _layers_run(_cache(memory, then)) == run
    assert len(_cache(memory, then)) == len(LENGTHS)


def test_other_content_has_other_states() -> None:
    """Other texts, another model or another precision."""
    memory = PrefixMemory()
    encode(_cache(memory, 2), "test")
    assert len(_cache(memory, 2, content="b")) == 0
    assert _layers_run(_cache(memory, 2, content="b")) == {0, 1, 2}


def test_a_cache_of_its_own_leaves_nothing() -> None:
    """There is no later one."""
    cache = _cache(None, 2)
    encode(cache, "test")
    assert cache.memory.used_bytes() == STATE_BYTES


def test_states_between_two_layers_are_left_too() -> None:
    """The states at the first layer are known, and those on the way to the third are left."""
    memory = PrefixMemory()
    deep = Backbone(seeded(lambda: BertModel(bert(num_hidden_layers=4))), None, "mean", batch_tokens=40)
    for start in (1, 3):
        encode(PrefixCache(deep, ragged(LENGTHS), start, PLENTY, memory, "a"), "test")
    assert sorted(memory.below("a", 4)) == [1, 2, 3]
    assert memory.used_bytes() == 3 * STATE_BYTES
    assert torch.equal(
        encode(PrefixCache(deep, ragged(LENGTHS), 2, PLENTY, memory, "a"), "test"),
        encode(PrefixCache(deep, ragged(LENGTHS), 2, 0), "test"),
    )


def test_what_was_not_used_for_longest_is_forgotten() -> None:
    """There is room for two layers' states."""
    memory = PrefixMemory()
    for content in ("a", "b", "a", "c"):
        encode(_cache(memory, 2, 2 * STATE_BYTES, content), "test")
    kept = {content: len(_cache(memory, 2, 0, content)) for content in "abc"}
    assert kept == {"a": len(LENGTHS), "b": 0, "c": len(LENGTHS)}
