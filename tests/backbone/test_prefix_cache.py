"""What the cache gives is what a new computation gives, within its memory and without doing work twice."""

from unittest.mock import patch

import pytest
import torch
from models import LENGTHS, N_LAYERS, WIDTH, padded, ragged, tiny
from torch import Tensor

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import encode
from layersel.backbone.prefix import PrefixCache

ALL = list(range(len(LENGTHS)))
ROOM_FOR_ALL = 2**20


def _bytes(*texts: int) -> int:
    """Memory that the float32 states of these texts take."""
    return sum(LENGTHS[text] for text in texts) * WIDTH * 4


def _cache(start: int = 2, max_bytes: int = ROOM_FOR_ALL, batch_tokens: int = 8192, name: str = "bert") -> PrefixCache:
    return PrefixCache(Backbone(tiny(name), None, "mean", batch_tokens=batch_tokens), ragged(LENGTHS), start, max_bytes)


def _reference(cache: PrefixCache) -> Tensor:
    """Each text alone through the whole model."""
    return torch.cat([cache.backbone(padded(cache.backbone.model, [text])) for text in cache.tokens])


def _texts_computed(cache: PrefixCache, texts: list[int]) -> int:
    """How many texts go through the first layer while `texts` are encoded."""
    layer = cache.backbone.layers[0]
    cache.backbone._layer_arity  # noqa: B018 - its own trial pass is not counted
    with patch.object(layer, "forward", wraps=layer.forward) as forward, torch.no_grad():
        cache.vectors(texts)
    return sum(len(call.args[0]) for call in forward.call_args_list)


@pytest.mark.parametrize("start", range(N_LAYERS))
@pytest.mark.parametrize("name", ["bert", "deberta", "gpt2", "mpnet"])
def test_kept_states_give_the_vectors_of_the_whole_model(name: str, start: int) -> None:
    """This holds with no, some or all texts in memory; in the first pass and in the ones after it."""
    full = _cache(start, name=name)
    with torch.no_grad():
        expected = _reference(full)
        for max_bytes in (0, _bytes(2), _bytes(0, 1), ROOM_FOR_ALL):
            cache = PrefixCache(full.backbone, full.tokens, start, max_bytes)
            for _ in range(2):
                torch.testing.assert_close(cache.vectors(ALL), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("max_bytes", [0, 1, _bytes(2) - 1, _bytes(2), _bytes(0, 1), _bytes(*ALL) - 1, _bytes(*ALL)])
def test_memory_stays_within_its_bound(max_bytes: int) -> None:
    """Whatever batch comes first is kept as long as there is room; with room for all, all are kept."""
    cache = _cache(max_bytes=max_bytes, batch_tokens=16)
    with torch.no_grad():
        cache.vectors(ALL)
        cache.vectors(ALL)
    assert cache.memory.used_bytes() <= max_bytes
    assert (len(cache) == len(ALL)) == (max_bytes >= _bytes(*ALL))


def test_states_in_memory_are_copies_of_the_real_tokens_only() -> None:
    """A view would keep its whole padded batch alive."""
    cache = _cache()
    with torch.no_grad():
        cache.vectors(ALL)
    for text, entered in cache.memory.states(None, 2).items():
        states = entered.states
        assert states.shape == (LENGTHS[text], WIDTH)
        assert states.untyped_storage().nbytes() == _bytes(text)
        assert not states.requires_grad


def test_texts_in_memory_are_not_computed_again() -> None:
    """The second pass enters the first layer with no text at all."""
    cache = _cache()
    assert _texts_computed(cache, ALL) == len(ALL)
    assert _texts_computed(cache, ALL) == 0


def test_of_a_partly_kept_batch_only_the_rest_is_computed() -> None:
    """This holds when the memory is full, too, so that the rest cannot be kept."""
    cache = _cache(max_bytes=_bytes(0, 1))
    with torch.no_grad():
        cache.vectors([0, 1])
    assert len(cache) == 2
    assert _texts_computed(cache, [0, 1, 2, 5]) == 2
    assert _texts_computed(cache, [0, 1, 2, 5]) == 2


def test_without_a_prefix_nothing_is_kept() -> None:
    """`start=0`: the lowest layer itself may change."""
    cache = _cache(start=0)
    with torch.no_grad():
        cache.vectors(ALL)
    assert len(cache) == 0


def test_a_change_above_the_prefix_shows_at_once() -> None:
    """The states below stay valid; the vectors follow the suffix."""
    cache = _cache()
    with torch.no_grad():
        before = cache.vectors(ALL)
        cache.backbone.layers[-1].output.dense.weight.mul_(0.5)
        after = cache.vectors(ALL)
        torch.testing.assert_close(after, _reference(cache), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, after, atol=1e-3)


@pytest.mark.parametrize("texts", [[3], [5, 0, 3], [2, 2, 0, 2], [4, 3, 2, 1, 0]])
def test_rows_follow_the_order_asked_for(texts: list[int]) -> None:
    """However the texts are sorted into batches; a text may be asked for twice."""
    cache = _cache(batch_tokens=20)
    with torch.no_grad():
        torch.testing.assert_close(cache.vectors(texts), _reference(cache)[texts], rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_suffix_only() -> None:
    """This holds in the first pass, which computes the prefix, and in the second, which finds it."""
    cache = _cache(start=1)
    for _ in range(2):
        cache.backbone.zero_grad()
        cache.vectors(ALL).sum().backward()
        assert all(parameter.grad is not None for parameter in cache.backbone.layers[1:].parameters())
        below = [*cache.backbone.layers[0].parameters(), *cache.backbone.model.embeddings.parameters()]
        assert all(parameter.grad is None for parameter in below)


def test_encode_gives_all_texts_in_order_in_evaluation_mode() -> None:
    """Dropout is off meanwhile, and every module's own mode and gradient setting return."""
    cache = _cache(batch_tokens=20)
    backbone = cache.backbone
    expected = _reference(cache).detach()
    backbone.train_suffix(1)
    modes = [module.training for module in backbone.modules()]
    vectors = encode(cache, "test")
    torch.testing.assert_close(vectors, expected, rtol=1e-4, atol=1e-5)
    assert vectors.dtype == torch.float32
    assert not vectors.requires_grad
    assert [module.training for module in backbone.modules()] == modes
    assert torch.is_grad_enabled()


def test_modes_return_after_an_error() -> None:
    """A text of ids beyond the vocabulary breaks the pass."""
    cache = _cache()
    cache.tokens = [*cache.tokens, [10**6]]
    cache.backbone.train()
    with pytest.raises(IndexError):
        encode(cache, "test")
    assert all(module.training for module in cache.backbone.modules())
