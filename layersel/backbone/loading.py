"""Loading a pretrained model: from a folder, an installed package, or the hub; weights only, no foreign code."""

import os
import struct
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers import logging as transformers_logging

from layersel.backbone.backbone import Backbone
from layersel.backbone.gguf import dequantised
from layersel.backbone.pretrained import GGUF, OFFLINE_CHOICES, WEIGHTS, Pretrained, check_folder
from layersel.data.download import hub_answers
from layersel.errors import UserError

UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError, StrictDataclassError)
CAUSAL_LM = "AutoModelForCausalLM"
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


def load(pretrained: Pretrained, auto_class: str) -> Backbone:
    """Loads the model as `Pretrained.load` says."""
    location = _location(pretrained)
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
                dtype=getattr(torch, WEIGHTS[pretrained.weights]),
                weights_only=True,
                ignore_mismatched_sizes=True,  # they are reported below
                output_loading_info=True,
                **options,
            )
    except UnpicklingError as error:
        raise _cannot_load(pretrained.path, "pytorch_model.bin is damaged or holds more than tensors") from error
    except UNREADABLE as error:
        if auto_class == CAUSAL_LM and "Unrecognized configuration class" in str(error):
            raise _no_language_model(pretrained, "its architecture has no such head") from error
        raise _cannot_load(pretrained.path, error) from error
    _check_tokenizer(pretrained, tokenizer, model.get_input_embeddings().num_embeddings)
    if auto_class == CAUSAL_LM:
        _check_language_model(pretrained, model, loading)
    _check_weights(pretrained, loading)
    _check_length(pretrained, positions(model, pretrained.max_length))
    return pretrained.backbone(model, tokenizer)


def read_config(pretrained: Pretrained) -> PretrainedConfig:
    """Reads the model's configuration, without its weights.

    Raises:
        UserError: It cannot be read, or `max_length` is more than the model has positions.
    """
    location = _location(pretrained)
    try:
        with _quiet():
            return _config(pretrained, location, _options(pretrained, location))
    except UNREADABLE as error:
        raise _cannot_load(pretrained.path, error) from error


def _location(pretrained: Pretrained) -> str:
    """Returns the folder or hub name that the model is loaded from; of a GGUF file, the folder made of it."""
    location = pretrained.location()
    if Path(location).suffix != GGUF:
        return location
    check_folder(location)
    try:
        with _quiet():
            return str(dequantised(Path(location)))
    except (*UNREADABLE, struct.error) as error:
        raise _cannot_load(pretrained.path, error) from error


def _options(pretrained: Pretrained, location: str) -> dict[str, Any]:
    local = Path(location).is_absolute() or not hub_answers()
    return {"revision": pretrained.revision, "trust_remote_code": False, "local_files_only": local}


def _config(pretrained: Pretrained, location: str, options: dict[str, Any]) -> PretrainedConfig:
    check_folder(location)
    config = AutoConfig.from_pretrained(location, **options)
    _check_length(pretrained, getattr(config, "max_position_embeddings", pretrained.max_length))
    return config


def _check_tokenizer(pretrained: Pretrained, tokenizer: PreTrainedTokenizerBase, embedded: int) -> None:
    """Refuses a tokenizer that knows its special tokens only, as transformers makes it of a folder without its files.

    One of another model, which has tokens without one of the `embedded` vectors, is refused too.
    """
    vocabulary = tokenizer.get_vocab()
    if set(vocabulary) <= set(tokenizer.all_special_tokens):
        raise _cannot_load(pretrained.path, "it has no tokenizer.json and no other vocabulary")
    largest = max(vocabulary.values())
    if largest >= embedded:
        raise UserError(
            f"model.path: the tokenizer of {pretrained.path!r} has tokens up to number {largest}, but the model "
            f"{embedded} embeddings; give the tokenizer that the model was trained with"
        )
    special = tokenizer.num_special_tokens_to_add()
    if pretrained.max_length <= special:  # which would cut nothing
        raise UserError(
            f"model.max_length: expected more than the {special} special tokens of {pretrained.path}, "
            f"but got {pretrained.max_length}"
        )


def _check_language_model(pretrained: Pretrained, model: PreTrainedModel, loading: dict[str, Any]) -> None:
    """Refuses a model without a head for next tokens, or whose layers look at the tokens that follow."""
    without = {name for name in loading["missing_keys"] if not name.startswith(f"{model.base_model_prefix}.")}
    if model.get_output_embeddings() is None or without:
        raise _no_language_model(pretrained, "it has no head that was trained for the next token")
    ids = torch.arange(2, 6).unsqueeze(0)
    with torch.no_grad():
        one, other = (
            model.eval().base_model(input_ids=own)[0][0, :3] for own in (ids, ids - torch.tensor([0, 0, 0, 1]))
        )
    if not torch.allclose(one, other, rtol=1e-3, atol=1e-4):
        raise _no_language_model(pretrained, "its layers look at the tokens that follow")


def _no_language_model(pretrained: Pretrained, why: str) -> UserError:
    return UserError(
        f"model.path: expected a decoder with its head, but got {pretrained.path!r}: {why}; give another, such as "
        "model=smollm2"
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


def _cannot_load(path: str, error: Exception | str) -> UserError:
    if isinstance(error, UserError):
        return error
    unreached = "couldn't connect" in str(error)
    absent = "there is no such folder, the hub does not answer, and it is not in the cache"
    reason = absent if unreached else " ".join(str(error).split())[:200]
    return UserError(f"model.path: {path!r} cannot be loaded ({reason}); {OFFLINE_CHOICES}")
