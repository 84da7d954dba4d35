"""Which layers of a pretrained transformer need an adapter for this task?

Example:
    from layersel import select_layers

    selection = select_layers(model, texts, n=3, score="cka", tokenizer=tokenizer)
    model = peft.get_peft_model(model, selection.lora_config(r=8))
"""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layersel.selection.select import select_layers
    from layersel.selection.selection import Selection

__version__ = "0.1.0"
__all__ = ["Selection", "__version__", "select_layers"]

# PEFT imports bitsandbytes wherever it is installed, which then asks for a package of faster kernels.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    """The library's front door, imported when it is used: a wrong option is answered without loading PyTorch."""
    if name == "select_layers":
        from layersel.selection.select import select_layers

        return select_layers
    if name == "Selection":
        from layersel.selection.selection import Selection

        return Selection
    raise AttributeError(f"module 'layersel' has no attribute {name!r}")
