"""Where adapters stand, in the words of PEFT and of the trainers that are built on it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists


def places_by_tool(
    modules: Sequence[Mapping[str, str]], layers: Sequence[int], targets: Sequence[str], namesakes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Returns the arguments that put LoRA on `targets`, for each tool that reads them.

    `peft` is for `peft.LoraConfig`, `axolotl` for its YAML file, and `llama_factory` for LLaMA-Factory's, which knows
    no indices of layers, so that the names are there in full.

    Args:
        modules: For each layer, the full name of each of its known modules.
        layers: The layers that the targets are in.
        targets: The full names of the modules to adapt.
        namesakes: The full names of the model's other modules that endings of names could mean.
    """
    peft = _by_indices(modules, layers, targets, namesakes) or {"target_modules": list(targets)}
    axolotl = {"lora_target_modules": peft["target_modules"]}
    if "layers_to_transform" in peft:
        axolotl["peft_layers_to_transform"] = peft["layers_to_transform"]
        axolotl["peft_layers_pattern"] = [peft["layers_pattern"]]
    return {"peft": peft, "axolotl": axolotl, "llama_factory": {"lora_target": ",".join(targets)}}


def patterns(ranks: Mapping[str, int], scale: float | None) -> dict[str, dict[str, Any]]:
    """Returns PEFT's `rank_pattern`, and the `alpha_pattern` with which alpha/r is `scale` in all of these modules.

    PEFT takes the keys for regular expressions that the end of a name matches, so that they are escaped.

    Args:
        ranks: The rank of each module by its full name.
        scale: The scale; None leaves alpha as it is.
    """
    keys = {re.escape(name): rank for name, rank in ranks.items()}
    alphas = {} if scale is None else {key: scale * rank for key, rank in keys.items()}
    return {"rank_pattern": keys, "alpha_pattern": alphas}


def _by_indices(
    modules: Sequence[Mapping[str, str]], layers: Sequence[int], targets: Sequence[str], namesakes: Sequence[str]
) -> dict[str, Any] | None:
    """Returns endings of names, indices of layers, and the name of their list; None if these mean other modules.

    The list is always named: without it PEFT takes the first number in a name for the index.
    """
    known = sorted({name for named in modules for name in named.values()} | set(namesakes))
    inside = [name.split(f".{layer}.", 1) for layer in layers for name in modules[layer].values() if name in targets]
    others = {name.split(f".{layer}.", 1)[1] for layer in layers for name in known if f".{layer}." in name}
    places = {
        "target_modules": sorted({_ending(parts[-1], others) for parts in inside}),
        "layers_to_transform": list(layers),
        "layers_pattern": inside[0][0].rpartition(".")[2],
    }
    config = LoraConfig(**places)
    meant = [name for name in known if check_target_module_exists(config, name)]
    return places if meant == sorted(targets) else None


def _ending(name: str, others: set[str]) -> str:
    """Returns a module's own name, or its whole name in the layer if another one there has the same."""
    own = name.rpartition(".")[2]
    return name if any(other.rpartition(".")[2] == own for other in others - {name}) else own
