"""Writing adapters as plain PEFT folders."""

from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import save_file
from torch import Tensor

from layersel.errors import UserError
from layersel.files import atomic_folder

# Shapes: O outputs and I inputs of a weight matrix, R rank.

KEY = "base_model.model."
"""The prefix of an adapted module's name in PEFT's weight files."""


def save_adapter(adapted: PeftModel, folder: Path, notes: Mapping[str, str] | None = None) -> None:
    """Writes `adapter_config.json` and `adapter_model.safetensors`, as `PeftModel.from_pretrained` reads them.

    Args:
        adapted: The model with its adapter.
        folder: Where to; one that stands there is replaced whole.
        notes: Further text files, by name.
    """
    with atomic_folder(folder) as draft:
        adapted.save_pretrained(str(draft), safe_serialization=True, save_embedding_layers=False)
        for name, text in (notes or {}).items():
            (draft / name).write_text(text, encoding="utf-8")


def save_lora(factors: Mapping[str, tuple[Tensor, Tensor]], folder: Path) -> None:
    """Writes weight changes B·A as a standard LoRA that `PeftModel.from_pretrained` reads; its own scale is 1.

    Args:
        factors: B (O×R) and A (R×I) by the full name of the module; ranks may differ.
        folder: Where to; one that stands there is replaced whole.

    Raises:
        UserError: No module at all, which PEFT cannot express.
    """
    if not factors:
        raise UserError("save_lora: expected factors of at least one module, but got none; use the model as it is")
    ranks = {name: len(down_RI) for name, (_, down_RI) in factors.items()}
    rank = max(ranks.values())
    smaller = {name: own for name, own in ranks.items() if own != rank}
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        rank_pattern=smaller,
        alpha_pattern=dict(smaller),
        target_modules=sorted(factors),
        inference_mode=True,
    )
    weights = {}
    for name, (up_OR, down_RI) in factors.items():
        weights[f"{KEY}{name}.lora_A.weight"] = down_RI.detach().cpu().clone(memory_format=torch.contiguous_format)
        weights[f"{KEY}{name}.lora_B.weight"] = up_OR.detach().cpu().clone(memory_format=torch.contiguous_format)
    with atomic_folder(folder) as draft:
        config.save_pretrained(str(draft))
        save_file(weights, draft / SAFETENSORS_WEIGHTS_NAME, metadata={"format": "pt"})
