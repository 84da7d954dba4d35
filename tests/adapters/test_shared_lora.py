"""LoRA-drop: the chosen layers own a LoRA, the others share one."""

from pathlib import Path

import pytest
import torch
from models import N_LAYERS, WIDTH, padded, ragged, tiny
from peft import PeftModel
from placing import InPlace, in_place, selection_of, vectors_of
from torch import nn

from layersel.adapters.kinds.lora_drop import LoraDrop
from layersel.adapters.placement import count_parameters
from layersel.backbone.backbone import Backbone
from layersel.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def factor(adapted: InPlace, layer: int, projection: str) -> nn.Parameter:
    """A of that module."""
    weight = adapted.backbone.model.get_submodule(adapted.backbone.projections[layer][projection]).lora_A["default"]
    return weight.weight


def test_chosen_layers_own_theirs_and_the_others_share() -> None:
    """With layer 1 chosen, 0 and 2 share one B and A for each projection."""
    adapted = in_place("lora_drop", layers=[1], projections=["query", "value"])
    assert adapted.placed.layers == [0, 1, 2]
    for projection in ("query", "value"):
        assert factor(adapted, 0, projection) is factor(adapted, 2, projection)
        assert factor(adapted, 0, projection) is not factor(adapted, 1, projection)
    assert factor(adapted, 0, "query") is not factor(adapted, 0, "value")
    trained = [parameter for parameter in adapted.backbone.parameters() if parameter.requires_grad]
    assert len(trained) == 2 * 2 * 2
    torch.optim.AdamW(trained)


@pytest.mark.parametrize(("layers", "owners"), [([1], 2), ([0, 2], 3), ([0, 1, 2], 3)])
def test_trained_parameters(layers: list[int], owners: int) -> None:
    """One LoRA for each chosen layer and one for the others, if there are any."""
    adapted = in_place("lora_drop", layers=layers, projections=["query", "value"])
    assert count_parameters(adapted.backbone)[0] == owners * 2 * 4 * 2 * WIDTH


def test_shared_gradients_add_up() -> None:
    """The shared A's gradient is the sum of those of the layers that have it."""
    adapted = in_place("lora_drop", layers=[1], projections=["query"]).shaken()
    batch = padded(adapted.backbone.model, ragged())
    shared = factor(adapted, 0, "query")
    adapted.backbone(batch).square().mean().backward()
    expected = shared.grad.clone()
    copies = []
    for layer in (0, 2):
        module = adapted.backbone.model.get_submodule(adapted.backbone.projections[layer]["query"])
        module.lora_A["default"] = nn.Linear(WIDTH, 4, bias=False)
        module.lora_A["default"].weight = nn.Parameter(shared.detach().clone())
        copies.append(module.lora_A["default"].weight)
    adapted.backbone(batch).square().mean().backward()
    torch.testing.assert_close(copies[0].grad + copies[1].grad, expected, rtol=1e-4, atol=1e-7)


def test_exported_every_layer_has_a_standard_lora(tmp_path: Path) -> None:
    """Read by PEFT alone: the same vectors."""
    adapted = in_place("lora_drop", layers=[1]).shaken()
    adapted.placed.save(tmp_path / "adapter")
    fresh = tiny("bert")
    loaded = PeftModel.from_pretrained(fresh, str(tmp_path / "adapter"))
    torch.testing.assert_close(vectors_of(Backbone(fresh, None, "mean")), adapted.vectors, rtol=0, atol=1e-6)
    names = [name for name in loaded.state_dict() if ".lora_A." in name]
    assert len(names) == N_LAYERS * len(adapted.backbone.projections[0])


def test_layers_of_other_shapes_cannot_share() -> None:
    """One line, before the model is touched; those that own theirs may have any shape."""
    backbone = Backbone(tiny("llama"), None, "mean")
    backbone.layers[2].self_attn.q_proj = nn.Linear(WIDTH, 48)
    adapter = LoraDrop(rank=2, projections=["query"])
    with pytest.raises(UserError, match=r"expected the same shape in all layers .* has \(32, 32\) and .* \(48, 32\)"):
        adapter.place(backbone, selection_of(tiny("llama"), [1]), torch.Generator())
    placed = adapter.place(backbone, selection_of(tiny("llama"), [2]), torch.Generator())
    assert placed.layers == [0, 1, 2]
