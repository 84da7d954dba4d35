"""Activations that are computed again: the same numbers, without what the layers would keep."""

import torch
from models import llama, ragged, seeded
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from transformers import LlamaForCausalLM

from layersel.backbone.backbone import Backbone
from layersel.backbone.recomputing import recomputed


def _step(backbone: Backbone, again: bool) -> tuple[Tensor, list[Tensor], int]:
    """The loss, the gradients, and how many numbers were kept for the backward pass, from layer 1 on, under dropout."""
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    torch.manual_seed(1)
    backbone.zero_grad()
    batch = backbone.batch(ragged())
    states_BTD = backbone.prefix(batch, 1).detach()
    with saved_tensors_hooks(pack, lambda tensor: tensor), recomputed(backbone.layers if again else ()):
        loss = backbone.last_states(batch, 1, states_BTD).square().mean()
    loss.backward()
    return loss.detach(), [own.grad.clone() for own in backbone.parameters() if own.grad is not None], kept


def test_numbers_are_the_same_and_less_is_kept() -> None:
    """To the last bit, with the dropout of the model and of the adapter; afterwards the layers are as they were."""
    model = seeded(lambda: LlamaForCausalLM(llama(attention_dropout=0.2)))
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj"], lora_dropout=0.2, init_lora_weights=False))
    adapted.train()
    backbone = Backbone(model, pooling="last")
    loss, gradients, kept = _step(backbone, again=False)
    again, same, fewer = _step(backbone, again=True)
    assert torch.equal(loss, again)
    assert len(gradients) == 4  # A and B of the two layers that run
    assert all(torch.equal(own, other) for own, other in zip(gradients, same, strict=True))
    assert fewer < kept / 3
    assert not any("forward" in vars(layer) for layer in backbone.layers)
