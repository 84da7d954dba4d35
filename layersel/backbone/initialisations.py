"""How PEFT initialises a LoRA: some ways take something out of the pretrained weights."""

from peft import PeftConfig

CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""The beginnings of the `init_lora_weights` that do."""


def changing_initialisation(config: PeftConfig) -> str | None:
    """Returns the `init_lora_weights` of an adapter if PEFT changes the pretrained weights by it, else None."""
    initial = str(getattr(config, "init_lora_weights", None))
    return initial if initial.lower().startswith(CHANGING) else None
