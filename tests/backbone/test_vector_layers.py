"""Vectors made of several layers, against the model's own `hidden_states`, pooled and combined by hand."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from models import LENGTHS, N_LAYERS, STATE_BYTES, WIDTH, bert, padded, ragged, seeded, tiny
from sklearn.metrics.pairwise import cosine_similarity
from transformers import BertModel, PreTrainedModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import encode
from layersel.backbone.pooling import POOLINGS
from layersel.backbone.prefix import PrefixCache, PrefixMemory
from layersel.backbone.pretrained import Pretrained
from layersel.backbone.shorten import drop_layers
from layersel.backbone.vector_layers import layers_named, layers_problems
from layersel.errors import UserError
from layersel.selection.score import Probe, score_named
from layersel.selection.select import make_selection, score_layers

PLENTY = 2**20
CHOICES = ["all", [0, 2], [-3, 1], [1], [-1]]
POOLED = {"cls": lambda rows: rows[0], "mean": lambda rows: rows.mean(axis=0), "last": lambda rows: rows[-1]}


def by_hand(model: PreTrainedModel, pooling: str, layers: list[int], combine: str) -> np.ndarray:
    """The vectors, text by text and in float64, out of what transformers returns as `hidden_states`."""
    vectors = []
    for text in ragged(LENGTHS):
        with torch.no_grad():
            hidden = model.base_model(**padded(model, [text]), output_hidden_states=True).hidden_states
        pooled = [POOLED[pooling](hidden[layer + 1][0].double().numpy()) for layer in layers]
        units = pooled if len(pooled) == 1 else [vector / np.linalg.norm(vector) for vector in pooled]
        vectors.append(np.concatenate(units) if combine == "concat" else np.mean(units, axis=0))
    return np.stack(vectors)


def cache(
    layers: str | list[int],
    start: int,
    max_bytes: int = PLENTY,
    memory: PrefixMemory | None = None,
    name: str = "bert",
    combine: str = "concat",
) -> PrefixCache:
    """A cache whose vectors are made of these layers."""
    backbone = Backbone(tiny(name), None, "mean", batch_tokens=40, vector_layers=layers, combine=combine)
    return PrefixCache(backbone, ragged(LENGTHS), start, max_bytes, memory, "a")


@pytest.mark.parametrize("combine", ["mean", "concat"])
@pytest.mark.parametrize("layers", CHOICES, ids=str)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_vectors_are_the_pooled_hidden_states(
    shared_model: PreTrainedModel, pooling: str, layers: str | list[int], combine: str
) -> None:
    """Every architecture's are right: several layers are brought to length 1, a single one stays as it is."""
    backbone = Backbone(shared_model, None, pooling, vector_layers=layers, combine=combine)
    with torch.no_grad():
        vectors = backbone(padded(shared_model, ragged(LENGTHS)))
    named = range(N_LAYERS) if layers == "all" else sorted(layer % N_LAYERS for layer in layers)
    expected = by_hand(shared_model, pooling, list(named), combine)
    assert vectors.shape == expected.shape
    assert backbone.n_parts == (len(named) if combine == "concat" else 1)
    np.testing.assert_allclose(vectors.numpy(), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("combine", ["mean", "concat"])
def test_the_last_layer_alone_is_what_it_always_was(shared_model: PreTrainedModel, combine: str) -> None:
    """To the last bit: the pooled last hidden state, in its own precision."""
    batch = padded(shared_model, ragged(LENGTHS))
    with torch.no_grad():
        hidden = shared_model.base_model(**batch, return_dict=True).last_hidden_state
        for layers in ("last", [-1]):
            backbone = Backbone(shared_model, None, "mean", vector_layers=layers, combine=combine)
            assert torch.equal(backbone(batch), backbone.pool(hidden, batch["attention_mask"]))


def test_the_cosine_of_a_concatenation_is_the_mean_over_layers() -> None:
    """The two agree, so that no layer rules by its norm."""
    vectors = encode(cache("all", 0), "test").numpy()
    alone = [cosine_similarity(encode(cache([layer], 0), "test").numpy()) for layer in range(N_LAYERS)]
    np.testing.assert_allclose(cosine_similarity(vectors), np.mean(alone, axis=0), atol=1e-5)


@pytest.mark.parametrize("start", range(N_LAYERS))
@pytest.mark.parametrize("layers", ["all", [0], [0, 2], [1, 2]], ids=str)
@pytest.mark.parametrize("name", ["bert", "deberta", "gpt2", "modernbert"])
def test_the_cache_gives_what_the_whole_model_gives(name: str, layers: str | list[int], start: int) -> None:
    """The vectors agree with no, some or all texts in memory, in every pass, also for layers all below `start`."""
    expected = encode(cache(layers, 0, name=name), "test")
    for max_bytes in (0, STATE_BYTES // 3, PLENTY):
        kept = cache(layers, start, max_bytes, name=name)
        for _ in range(2):
            with torch.no_grad():
                torch.testing.assert_close(kept.vectors(range(len(LENGTHS))), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("starts", [(2, 2), (1, 2), (2, 1), (1, 2, 2)])
def test_what_caches_leave_each_other_changes_no_bit(name: str, starts: tuple[int, ...]) -> None:
    """Pooled outputs below the layer that a later cache starts from come from the memory with its states."""
    memory = PrefixMemory()
    for start in starts:
        found = encode(cache("all", start, memory=memory, name=name), "test")
        assert torch.equal(found, encode(cache("all", start, 0, name=name), "test"))


@pytest.mark.parametrize("max_bytes", [0, STATE_BYTES, STATE_BYTES + 1, 2 * STATE_BYTES])
def test_memory_stays_within_its_bound(max_bytes: int) -> None:
    """Pooled outputs count too."""
    memory = PrefixMemory()
    for start in (1, 2, 1):
        encode(cache("all", start, max_bytes, memory), "test")
        assert memory.used_bytes() <= max_bytes


def test_the_cache_grows_by_a_vector_a_text_and_layer() -> None:
    """The cache keeps a lower layer's pooled output alone, not the states of that layer's tokens."""
    kept = cache("all", 2)
    encode(kept, "test")
    assert kept.memory.used_bytes() == STATE_BYTES + 2 * len(LENGTHS) * WIDTH * 4
    for entered in kept.memory.states("a", 2).values():
        assert entered.lower.shape == (2, WIDTH)
        assert entered.lower.untyped_storage().nbytes() == 2 * WIDTH * 4


@pytest.mark.parametrize("combine", ["mean", "concat"])
@pytest.mark.parametrize("start", [0, 1])
def test_gradients_flow_through_every_layer_of_the_vector(start: int, combine: str) -> None:
    """The gradients equal those through transformers' own hidden states, combined with plain tensor operations."""
    weights = torch.randn(N_LAYERS * WIDTH, generator=torch.Generator().manual_seed(0))
    kept = cache("all", start, combine=combine)
    model = kept.backbone.model
    below = [own for layer in kept.backbone.layers[:start] for own in layer.parameters()]
    trained = [own for layer in kept.backbone.layers[start:] for own in layer.parameters()]
    reference = torch.zeros(())
    for text in kept.tokens:
        hidden = model(**padded(model, [text]), output_hidden_states=True).hidden_states[1:]
        units = [state[0].mean(dim=0) / state[0].mean(dim=0).norm() for state in hidden]
        vector = torch.cat(units) if combine == "concat" else sum(units) / len(units)
        reference = reference + (vector * weights[: len(vector)]).sum()
    expected = torch.autograd.grad(reference, trained)
    for _ in range(2):  # the first pass computes the prefix, the second one finds it
        vectors = kept.vectors(range(len(LENGTHS)))
        loss = (vectors * weights[: vectors.shape[1]]).sum()
        found = torch.autograd.grad(loss, [*trained, *below], allow_unused=True)
        for own, other in zip(found, expected, strict=False):
            torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-5)
        assert all(own is None for own in found[len(trained) :])


def test_an_adapter_above_the_vector_is_refused() -> None:
    """No gradient would reach it."""
    backbone = Backbone(tiny("bert"), None, "mean", vector_layers=[0, 1])
    backbone(padded(backbone.model, ragged(LENGTHS))).sum().backward()
    reached = [all(own.grad is not None for own in layer.parameters()) for layer in backbone.layers]
    assert reached == [True, True, False]
    probe = Probe([], torch.Generator())
    assert make_selection(backbone, score_named("first", n=2), probe).layers == [0, 1]
    with pytest.raises(UserError, match=r"layers \[2\] were chosen, above all that vectors are made of \(\[0, 1\]\)"):
        make_selection(backbone, score_named("last", n=2), probe)


def test_scores_of_layers_do_not_depend_on_the_vector() -> None:
    """CKA looks at every layer's pooled states, whatever vectors are made of."""
    model = tiny("bert")
    probe = Probe([padded(model, ragged(LENGTHS * 2))], torch.Generator())
    made_of = ("last", "all", [0, 2])
    scores = [
        score_layers(score_named("cka"), Backbone(model, None, "mean", vector_layers=own), probe) for own in made_of
    ]
    assert all(torch.equal(own.values_L, scores[0].values_L) for own in scores)


def test_layers_are_counted_among_those_that_are_left() -> None:
    """When layers are dropped, `all` and negative numbers mean the shorter model's."""
    for layers, left in (("all", [0, 1, 2]), ([-2, -1], [1, 2]), ("last", [2])):
        model = seeded(lambda: BertModel(bert(num_hidden_layers=5)))
        backbone = Backbone(model, None, "mean", vector_layers=layers, combine="concat")
        drop_layers(backbone, [1, 3])
        assert backbone.vector_layers == left
        with torch.no_grad():
            vectors = backbone(padded(model, ragged(LENGTHS)))
        np.testing.assert_allclose(vectors.numpy(), by_hand(model, "mean", left, "concat"), atol=2e-5)


@pytest.mark.parametrize("layers", ["all", [0, -1]], ids=str)
def test_a_loaded_model_makes_such_vectors(layers: str | list[int], tiny_model_folder: Path) -> None:
    """The model's options decide the vectors, and tell it from the same model with other ones."""
    options = Pretrained(path=str(tiny_model_folder), pooling="mean", layers=layers, combine="concat")
    assert options.problems() == []
    assert options.keeps_layers_apart
    backbone = options.load()
    assert backbone.vector_layers == ([0, 1, 2, 3] if layers == "all" else [0, 3])
    others = [replace(options, layers="last"), replace(options, layers=[0, 1]), replace(options, combine="mean")]
    prints = [own.fingerprint() for own in (options, *others)]
    assert len(set(prints)) == len(prints)
    assert not any(own.keeps_layers_apart for own in (others[0], others[2]))


@pytest.mark.parametrize("wrong", ["first", "", 3, [], [1, 1], [True], ["last"], [1.5], None], ids=repr)
def test_what_names_no_layers_is_refused(wrong: object) -> None:
    """Before a model is looked at."""
    (line,) = layers_problems(wrong)
    assert line == f"model.layers: expected last, all, or a list of different layers such as [3,-1], but got {wrong!r}"


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([3], r"model\.layers: expected layers from 0 to 2, or from -3 to -1 counted from the last one, but got 3"),
        ([0, -4, 7], r"but got -4, 7"),
        ([2, -1], r"model\.layers: expected different layers, but got \[2, -1\], and the model has 3"),
    ],
)
def test_layers_that_the_model_lacks_are_refused(layers: list[int], says: str) -> None:
    """When the backbone is made."""
    with pytest.raises(UserError, match=says):
        Backbone(tiny("bert"), None, "mean", vector_layers=layers)


def test_outputs_that_are_missing_are_no_vector() -> None:
    """A pass that starts at a layer needs what those below have given."""
    kept = cache("all", 1)
    batch = padded(kept.backbone.model, kept.tokens)
    states = kept.backbone.prefix(batch, 1)
    with pytest.raises(RuntimeError, match=r"expected the outputs of layers \[0, 1, 2\], but got 2 of them"):
        kept.backbone(batch, 1, states)


def test_an_unknown_combination_is_refused() -> None:
    """The error names the known ones."""
    with pytest.raises(UserError, match="combine: expected one of mean, concat, but got 'sum'"):
        Backbone(tiny("bert"), None, "mean", combine="sum")


def test_names_in_any_order_are_the_same_layers() -> None:
    """Ascending."""
    assert layers_named([-1, 0, 2], 6) == [0, 2, 5]
    assert all(low < high for low, high in pairwise(layers_named("all", 12)))
