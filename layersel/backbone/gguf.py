"""Models in one GGUF file, the format of llama.cpp: made into a plain Hugging Face folder, once."""

from pathlib import Path
from typing import Any

from layersel.backbone.pretrained import file_digest
from layersel.files import atomic_folder


def dequantised(file: Path) -> Path:
    """Returns the folder of the cache with the model of a GGUF file in float32, which is made if it is not there.

    The rounding of the file's 4 or 8 bits stays in the weights: they are what llama.cpp runs, in another format.
    """
    from platformdirs import user_cache_path

    from layersel.runs.fingerprints import versions

    name = f"{file.stem}-{file_digest(file).hex()[:12]}-transformers{versions()['transformers']}"
    folder = user_cache_path("layersel") / "dequantised" / name
    if not folder.is_dir():
        _write(file, folder)
    return folder


def _write(file: Path, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from layersel.backbone.tied import tied_names

    where: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    del model.config.quantization_config  # of the file; these weights are plain
    with atomic_folder(folder, keep=True) as draft:
        model.config.save_pretrained(draft)
        model.generation_config.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        tensors = {name: own.contiguous() for name, own in model.state_dict().items() if name not in tied_names(model)}
        save_file(tensors, draft / "model.safetensors", metadata={"format": "pt"})
