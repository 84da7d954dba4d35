"""The 4-bit base of QLoRA: linear layers in the NormalFloat type of bitsandbytes."""

from torch import nn
from transformers.pytorch_utils import Conv1D

from layersel.adapters.nf4_package import nf4_problem
from layersel.backbone.backbone import Backbone
from layersel.errors import UserError


def quantise_layers(backbone: Backbone, double_quant: bool) -> None:
    """Turns every linear module of the transformer layers into a frozen 4-bit one; the rest stays as it is.

    Args:
        backbone: The backbone whose layers are changed; a `Conv1D` becomes a linear module.
        double_quant: Whether the scales of the blocks of 64 weights are quantised, too.

    Raises:
        UserError: bitsandbytes is not installed, or a matrix is not made of whole blocks.

    Reference: Dettmers et al. 2023, "QLoRA: efficient finetuning of quantized LLMs", section 3.
    """
    problem = nf4_problem()
    if problem is not None:
        raise UserError(problem)
    from layersel.adapters.nf4_linear import BLOCK, Nf4Linear

    for layer in backbone.layers:
        linear = {name: part for name, part in layer.named_modules() if isinstance(part, nn.Linear | Conv1D)}
        for name, module in linear.items():
            if module.weight.numel() % BLOCK:
                raise UserError(
                    f"adapter: qlora quantises blocks of {BLOCK} weights, but {name} of "
                    f"{type(backbone.model).__name__} has {module.weight.numel()}; use adapter=lora"
                )
            layer.set_submodule(name, Nf4Linear(module, double_quant))
    setattr(backbone.model, "is_loaded_in_4bit", True)  # noqa: B010 - as transformers marks such models for PEFT
