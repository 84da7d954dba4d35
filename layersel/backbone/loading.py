"""Loading a pretrained model: from a folder, an installed package, or the hub; weights only, no foreign code."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
import transformers
from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers import logging as transformers_logging

from layersel.backbone.backbone import Backbone
from layersel.backbone.pretrained import OFFLINE_CHOICES, Pretrained, check_folder
from layersel.errors import UserError

UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError, StrictDataclassError)
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


def load(pretrained: Pretrained, auto_class: str) -> Backbone:
    """Loads the model as `Pretrained.load` says."""
    location = pretrained.location()
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"  # no background request to the hub for a .bin
    options = _options(pretrained, location)
    try:
        with _quiet():
            config = _config(pretrained, location, options)
            for name in ATTENTION_DROPOUT:
                if hasattr(config, name):
                    setattr(config, name, pretrained.attention_dropout)
            tokenizer = AutoTokenizer.from_pretrained(location, **options)
            model, loading = getattr(transformers, auto_class).from_pretrained(
                location,
                config=config,
                dtype=torch.float32,
                weights_only=True,
                ignore_mismatched_sizes=True,  # they are reported below
                output_loading_info=True,
                **options,
            )
    except UnpicklingError as error:
        raise _cannot_load(pretrained.path, "pytorch_model.bin is damaged or holds more than tensors") from error
    except UNREADABLE as error:
        raise _cannot_load(pretrained.path, error) from error
    _check_tokenizer(pretrained, tokenizer)
    _check_weights(pretrained, loading)
    _check_length(pretrained, positions(model, pretrained.max_length))
    return pretrained.backbone(model, tokenizer)


def read_config(pretrained: Pretrained) -> PretrainedConfig:
    """Reads the model's configuration, without its weights.

    Raises:
        UserError: It cannot be read, or `max_length` is more than the model has positions.
    """
    location = pretrained.location()
    try:
        with _quiet():
            return _config(pretrained, location, _options(pretrained, location))
    except UNREADABLE as error:
        raise _cannot_load(pretrained.path, error) from error


def _options(pretrained: Pretrained, location: str) -> dict[str, Any]:
    local = Path(location).is_absolute() or not _hub_answers()
    return {"revision": pretrained.revision, "trust_remote_code": False, "local_files_only": local}


def _config(pretrained: Pretrained, location: str, options: dict[str, Any]) -> PretrainedConfig:
    check_folder(location)
    config = AutoConfig.from_pretrained(location, **options)
    _check_length(pretrained, getattr(config, "max_position_embeddings", pretrained.max_length))
    return config


def _check_tokenizer(pretrained: Pretrained, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuses a tokenizer that knows its special tokens only: transformers makes it of a folder without its files."""
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise _cannot_load(pretrained.path, "it has no tokenizer.json and no other vocabulary")
    special = tokenizer.num_special_tokens_to_add()
    if pretrained.max_length <= special:  # which would cut nothing
        raise UserError(
            f"model.max_length: expected more than the {special} special tokens of {pretrained.path}, "
            f"but got {pretrained.max_length}"
        )


def _check_weights(pretrained: Pretrained, loading: dict[str, Any]) -> None:
    """Refuses a checkpoint that lacks tensors, which would stay random; a pooler's are never used."""
    wrong = {*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])}
    needed = sorted(key for key in wrong if not key.startswith("pooler."))
    if needed:
        raise _cannot_load(
            pretrained.path,
            f"its weights lack {len(needed)} tensors that config.json asks for, such as {needed[0]}",
        )


def _check_length(pretrained: Pretrained, most: int) -> None:
    if pretrained.max_length > most:
        raise UserError(
            f"model.max_length: expected at most {most} for {pretrained.path}, but got {pretrained.max_length}"
        )


def positions(model: PreTrainedModel, default: int) -> int:
    """Returns the longest text that has positions; RoBERTa-like models number them from behind the padding's own."""
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    if not isinstance(table, nn.Embedding) or table.padding_idx is None:
        most = getattr(model.config, "max_position_embeddings", None)
        return most if most is not None and most > 0 else default  # XLNet, which has no limit, says -1
    return int(table.num_embeddings - table.padding_idx - 1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Within the block transformers prints no notes, and no bars when the output is not a terminal."""
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


def _hub_answers() -> bool:
    """Returns whether the hub answers one short request: its own client would try for half a minute."""
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
