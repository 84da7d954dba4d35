"""Weight changes of any origin as a standard LoRA folder."""

import json
from pathlib import Path

import pytest
import torch
from models import WIDTH, tiny
from peft import PeftModel
from placing import vectors_of
from safetensors.torch import load_file
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from layersel.adapters.loading import load_adapter
from layersel.adapters.saving import save_lora
from layersel.backbone.backbone import Backbone
from layersel.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

Factors = dict[str, tuple[Tensor, Tensor]]


def random_factors(backbone: Backbone, ranks: tuple[int, ...]) -> Factors:
    """B and A for all projections of layers 0 and 1, of these ranks in turn."""
    generator = torch.Generator().manual_seed(0)
    names = [name for layer in (0, 1) for name in dict.fromkeys(backbone.projections[layer].values())]
    factors = {}
    for place, name in enumerate(names):
        module = backbone.model.get_submodule(name)
        outputs, inputs = module.weight.shape[::-1] if isinstance(module, Conv1D) else module.weight.shape
        rank = ranks[place % len(ranks)]
        factors[name] = tuple(
            0.2 * torch.randn(shape, generator=generator) for shape in ((outputs, rank), (rank, inputs))
        )
    return factors


def added(backbone: Backbone, factors: Factors) -> Tensor:
    """The vectors of the model with B·A added to its weights."""
    with torch.no_grad():
        for name, (up, down) in factors.items():
            module = backbone.model.get_submodule(name)
            module.weight += (up @ down).T if isinstance(module, Conv1D) else up @ down
    return vectors_of(backbone)


@pytest.mark.parametrize("model", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("ranks", [(3,), (1, 3, 2), (5, 2)])
def test_peft_and_we_read_it(model: str, ranks: tuple[int, ...], tmp_path: Path) -> None:
    """The same vectors as with B·A added to the weights, of equal ranks or not."""
    factors = random_factors(Backbone(tiny(model), None, "mean"), ranks)
    save_lora(factors, tmp_path / "adapter")
    expected = added(Backbone(tiny(model), None, "mean"), factors)
    plain = tiny(model)
    PeftModel.from_pretrained(plain, str(tmp_path / "adapter"))
    torch.testing.assert_close(vectors_of(Backbone(plain, None, "mean")), expected, rtol=1e-5, atol=2e-6)
    backbone = Backbone(tiny(model), None, "mean")
    changes = load_adapter(backbone, tmp_path / "adapter").changes()
    torch.testing.assert_close(vectors_of(backbone), expected, rtol=1e-5, atol=2e-6)
    assert set(changes) == set(factors)
    for name, (up, down) in factors.items():
        torch.testing.assert_close(changes[name].dense, up @ down)
        assert changes[name].factors[0].shape == up.shape


def test_its_own_scale_is_1_and_names_are_full(tmp_path: Path) -> None:
    """Alpha is the rank, for modules of a smaller rank too; no name can match another module."""
    factors = random_factors(Backbone(tiny("bert"), None, "mean"), (3, 2))
    save_lora(factors, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    smaller = {name: 2 for name, (up, _) in factors.items() if up.shape[1] == 2}
    assert (config["r"], config["lora_alpha"]) == (3, 3)
    assert config["rank_pattern"] == config["alpha_pattern"] == smaller
    assert sorted(config["target_modules"]) == sorted(factors)
    assert config["base_model_name_or_path"] is None
    weights = load_file(tmp_path / "adapter_model.safetensors")
    up, down = factors["encoder.layer.0.attention.self.query"]
    assert torch.equal(weights["base_model.model.encoder.layer.0.attention.self.query.lora_A.weight"], down)
    assert torch.equal(weights["base_model.model.encoder.layer.0.attention.self.query.lora_B.weight"], up)


def test_views_and_gradients_do_not_matter(tmp_path: Path) -> None:
    """Factors may share storage, be transposed, or require gradients."""
    whole = torch.randn(WIDTH, 2 * WIDTH, requires_grad=True)
    factors = {
        f"encoder.layer.{layer}.attention.self.query": (whole.T[:WIDTH, layer : layer + 2], whole[:2, :WIDTH])
        for layer in (0, 1)
    }
    save_lora(factors, tmp_path)
    changes = load_adapter(Backbone(tiny("bert"), None, "mean"), tmp_path).changes()
    for name, (up, down) in factors.items():
        torch.testing.assert_close(changes[name].dense, (up @ down).detach())


def test_no_module_at_all_is_refused(tmp_path: Path) -> None:
    """PEFT would adapt nothing or everything."""
    with pytest.raises(UserError, match="expected factors of at least one module"):
        save_lora({}, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("pattern", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_that_matches_nothing_is_refused(pattern: str, tmp_path: Path) -> None:
    """PEFT only warns, and a module would have another scale."""
    save_lora(random_factors(Backbone(tiny("bert"), None, "mean"), (3, 2)), tmp_path)
    file = tmp_path / "adapter_config.json"
    content = json.loads(file.read_text())
    content[pattern]["encoder.layer.0.attention.self.quer"] = 2
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"sets a rank or alpha for encoder.layer.0.attention.self.quer, which it does"):
        load_adapter(Backbone(tiny("bert"), None, "mean"), tmp_path)
