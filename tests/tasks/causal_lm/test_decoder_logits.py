"""What the model's head makes of chosen hidden states is what the whole model makes of the texts."""

import pytest
import torch
import transformers as hf
from models import LANGUAGE_MODELS, bart, llama, ragged, seeded
from torch.testing import assert_close

from layersel.backbone.backbone import Backbone

SIZES = {
    name: own for name, own in llama().to_diff_dict().items() if name not in {"model_type", "transformers_version"}
}
WIDTHS = {"vocab_size": 400, "num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "pad_token_id": 0}
MODELS = LANGUAGE_MODELS | {
    "mixtral": lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**SIZES, num_local_experts=4)),
    "opt": lambda: hf.OPTForCausalLM(hf.OPTConfig(**WIDTHS, ffn_dim=48, word_embed_proj_dim=32)),
    "opt_projected": lambda: hf.OPTForCausalLM(hf.OPTConfig(**WIDTHS, ffn_dim=48, word_embed_proj_dim=16)),
    "bart": lambda: hf.BartForCausalLM(bart(is_encoder_decoder=False)),
    "modernbert": lambda: hf.ModernBertDecoderForCausalLM(hf.ModernBertDecoderConfig(**WIDTHS, intermediate_size=48)),
    "mamba": lambda: hf.MambaForCausalLM(hf.MambaConfig(**SIZES, state_size=4)),
    "phi": lambda: hf.PhiForCausalLM(hf.PhiConfig(**WIDTHS, intermediate_size=48)),
}
"""Decoders that hold their layers and their head in other ways, beside those that the losses are tested with."""


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_the_models_own(name: str) -> None:
    """With whatever it caps or scales; the model's forward pass is its own again afterwards."""
    model = seeded(MODELS[name])
    backbone = Backbone(model, pooling="last")
    batch = backbone.batch(ragged((9, 9)))
    forwards = [module.forward for module in model.modules()]
    with torch.no_grad():
        whole_BTV = model(**batch).logits
        states_BTD = backbone.last_states(batch)
        found_MV = backbone.logits(states_BTD[[0, 1, 1], [3, 8, 0]])
    assert_close(found_MV, whole_BTV[[0, 1, 1], [3, 8, 0]], rtol=1e-5, atol=1e-5)
    assert [module.forward for module in model.modules()] == forwards
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, whole_BTV)
    assert whole_BTV.std() > 0.1  # logits that are all alike would tell nothing


def test_the_cap_and_the_scale_show() -> None:
    """Else two of the models above would test nothing that others do not."""
    gemma2, granite = (seeded(LANGUAGE_MODELS[name]) for name in ("gemma2", "granite"))
    states_MD = torch.randn(5, 32, generator=torch.Generator().manual_seed(0)) * 10
    with torch.no_grad():
        found_MV = Backbone(gemma2, pooling="last").logits(states_MD)
        assert_close(found_MV, 3 * torch.tanh(gemma2.lm_head(states_MD) / 3))
        assert not torch.allclose(found_MV, gemma2.lm_head(states_MD), atol=0.1)
        assert_close(Backbone(granite, pooling="last").logits(states_MD), granite.lm_head(states_MD) / 4)


def test_a_failing_head_leaves_the_model_as_it_was() -> None:
    """States of another width are an error, after which the model still runs."""
    model = seeded(LANGUAGE_MODELS["llama"])
    with pytest.raises(RuntimeError):
        Backbone(model, pooling="last").logits(torch.zeros(2, 5))
    assert "forward" not in vars(model.base_model)
