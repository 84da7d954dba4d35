"""QLoRA: the linear modules of the layers in nf4, LoRA on the chosen ones, on a CPU too."""

import importlib.util
import json
from functools import partial
from pathlib import Path

import pytest
import torch
from models import ARCHITECTURES, bert, seeded, tiny
from placing import CHOSEN, in_place, selection_of, vectors_of
from torch import nn
from transformers import BertModel, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from layersel.adapters.kinds.qlora import Qlora
from layersel.adapters.loading import load_adapter
from layersel.adapters.nf4 import quantise_layers
from layersel.adapters.placement import count_parameters
from layersel.adapters.qlora_placed import NF4
from layersel.backbone.backbone import Backbone
from layersel.errors import UserError

bnb = pytest.importorskip("bitsandbytes", reason="the extra layersel[qlora] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


# The 16 values of NormalFloat4 (Dettmers et al. 2023, appendix E).
NEGATIVE = [-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004]
POSITIVE = [0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]
NORMAL_FLOAT = torch.tensor([*NEGATIVE, 0.0, *POSITIVE])


def in_nf4(weight: torch.Tensor) -> torch.Tensor:
    """The nearest of the 16 values in each block of 64, scaled by the block's largest magnitude."""
    blocks = nn.functional.pad(weight.flatten(), (0, -weight.numel() % 64)).view(-1, 64)
    scale = blocks.abs().amax(dim=1, keepdim=True)
    nearest = (blocks / scale)[..., None].sub(NORMAL_FLOAT).abs().argmin(dim=-1)
    return (NORMAL_FLOAT[nearest] * scale).flatten()[: weight.numel()].view_as(weight)


def wide() -> PreTrainedModel:
    """A BERT whose rows are whole blocks, for which bitsandbytes' own kernels are used."""
    return seeded(lambda: BertModel(bert(hidden_size=64, intermediate_size=128)))


MODELS = {name: partial(tiny, name) for name in ARCHITECTURES} | {"wide": wide}


@pytest.mark.parametrize("model", MODELS)
def test_the_base_is_the_model_with_weights_in_nf4(model: str) -> None:
    """Every linear weight of the layers, and no other, is the nearest in nf4: the same vectors, each time."""
    backbone = Backbone(MODELS[model](), None, "mean")
    quantise_layers(backbone, double_quant=False)
    reference = Backbone(MODELS[model](), None, "mean")
    pretrained = vectors_of(reference)
    with torch.no_grad():
        for module in reference.layers.modules():
            if isinstance(module, nn.Linear | Conv1D):
                conv1d = isinstance(module, Conv1D)
                weight = module.weight.T if conv1d else module.weight
                module.weight.copy_(in_nf4(weight.contiguous()).T if conv1d else in_nf4(weight))
    first = vectors_of(backbone)
    torch.testing.assert_close(first, vectors_of(reference), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(first, pretrained, atol=1e-2)
    assert torch.equal(vectors_of(backbone), first)


def test_every_linear_module_of_the_layers_is_quantised_and_only_the_chosen_have_lora() -> None:
    """The embeddings and the pooler stay."""
    adapted = in_place("qlora")
    kinds = {name: type(module) for name, module in adapted.backbone.model.named_modules()}
    linear = [name for name, kind in kinds.items() if issubclass(kind, nn.Linear) and ".lora_" not in name]
    assert {name for name in linear if not issubclass(kinds[name], bnb.nn.Linear4bit)} == {"pooler.dense"}
    assert adapted.placed.layers == CHOSEN
    trained = [name for name, value in adapted.backbone.model.named_parameters() if value.requires_grad]
    assert all(".lora_" in name for name in trained)


@pytest.mark.parametrize(("outputs", "inputs"), [(32, 32), (64, 48), (48, 96), (64, 64), (128, 384), (64, 312)])
@pytest.mark.parametrize("double_quant", [True, False])
def test_forward_and_backward_are_those_of_the_nf4_weight(outputs: int, inputs: int, double_quant: bool) -> None:
    """Whether rows are whole blocks or not; double quantisation rounds the scales a little."""
    from layersel.adapters.nf4_linear import Nf4Linear

    with torch.random.fork_rng():
        torch.manual_seed(0)  # other weights may lie midway between two values, and become either
        linear = nn.Linear(inputs, outputs)
    quantised = Nf4Linear(linear, double_quant)
    reference = nn.Linear(inputs, outputs)
    reference.load_state_dict({"weight": in_nf4(linear.weight.detach()), "bias": linear.bias})
    given = [torch.randn(5, inputs, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in range(2)]
    tolerance = 1e-2 if double_quant else 1e-5
    results = quantised(given[0]), reference(given[1])
    torch.testing.assert_close(*results, rtol=tolerance, atol=tolerance)
    for result in results:
        result.square().sum().backward()
    torch.testing.assert_close(given[0].grad, given[1].grad, rtol=tolerance, atol=10 * tolerance)


def test_a_matrix_without_whole_blocks_is_refused() -> None:
    """In one line."""
    backbone = Backbone(tiny("bert"), None, "mean")
    backbone.layers[1].output.dense = nn.Linear(9, 32)
    with pytest.raises(UserError, match=r"blocks of 64 weights, but output.dense of BertModel has 288; use"):
        quantise_layers(backbone, double_quant=True)


@pytest.mark.parametrize("double_quant", [True, False])
def test_parameters_are_counted_as_weights_not_as_bytes(double_quant: bool) -> None:
    """As many as the pretrained model has, and those of LoRA."""
    adapted = in_place("qlora", double_quant=double_quant)
    trained, total = count_parameters(adapted.backbone)
    assert trained == count_parameters(in_place("lora").backbone)[0]
    assert total - trained == count_parameters(tiny("bert"))[1]


def test_weights_take_a_seventh_of_the_memory() -> None:
    """4.5 bits instead of 32, without double quantisation."""
    backbone = Backbone(tiny("bert"), None, "mean")
    name = backbone.projections[0]["up"]
    before = backbone.model.get_submodule(name).weight
    quantise_layers(backbone, double_quant=False)
    after = backbone.model.get_submodule(name).weight
    size = after.numel() * after.element_size() + after.quant_state.absmax.numel() * 4
    assert size * 8 == pytest.approx(4.5 * before.numel(), rel=0.01)


@pytest.mark.parametrize("double_quant", [True, False])
def test_the_folder_says_how_to_make_the_base(double_quant: bool, tmp_path: Path) -> None:
    """Beside a plain PEFT adapter; loading quantises the model in the same way."""
    adapted = in_place("qlora", double_quant=double_quant).shaken()
    adapted.placed.save(tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter" / NF4).read_text()) == {"double_quant": double_quant}
    backbone = Backbone(tiny("bert"), None, "mean")
    load_adapter(backbone, tmp_path / "adapter")
    torch.testing.assert_close(vectors_of(backbone), adapted.vectors, rtol=0, atol=1e-6)
    (tmp_path / "adapter" / NF4).write_text("{")
    with pytest.raises(UserError, match="cannot be read as a PEFT adapter"):
        load_adapter(Backbone(tiny("bert"), None, "mean"), tmp_path / "adapter")


def test_a_refused_adapter_leaves_the_weights_alone(tmp_path: Path) -> None:
    """Another model's is refused before anything is quantised."""
    in_place("qlora").placed.save(tmp_path / "adapter")
    backbone = Backbone(tiny("llama"), None, "mean")
    before = vectors_of(backbone)
    with pytest.raises(UserError, match="this model lacks"):
        load_adapter(backbone, tmp_path / "adapter")
    assert torch.equal(vectors_of(backbone), before)


def test_merging_is_refused() -> None:
    """In one line; the adapter stays."""
    adapted = in_place("qlora").shaken()
    before = adapted.vectors
    with pytest.raises(UserError, match="adapter=qlora: cannot be merged, for its update would be rounded to 4 bits"):
        adapted.placed.merge()
    assert torch.equal(adapted.vectors, before)


def test_without_the_extra_it_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the command, before a model is loaded; whoever goes on gets the same line."""
    find_spec = importlib.util.find_spec
    missing = lambda name: None if name == "bitsandbytes" else find_spec(name)  # noqa: E731
    monkeypatch.setattr("layersel.adapters.nf4_package.find_spec", missing)
    (problem,) = Qlora().problems()
    assert problem.endswith("not installed; pip install 'layersel[qlora]'")
    model = tiny("bert")
    with pytest.raises(UserError, match="needs the package bitsandbytes"):
        Qlora(rank=2).place(Backbone(model, None, "mean"), selection_of(model), torch.Generator())
