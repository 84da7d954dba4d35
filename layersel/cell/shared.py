"""What the cells of a grid compute once for all of them: tokens, references, base vectors, scores, trainings, states.

Whatever comes from another cell is, to the last bit, what this one would have computed.
"""

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor

from layersel.backbone.backbone import Backbone
from layersel.backbone.prefix import PrefixCache, PrefixMemory
from layersel.cell.adapter_training import AdapterTraining, Trained
from layersel.cell.options import Cell
from layersel.cell.steps import TRAIN
from layersel.cell.warm_up import WarmUp, plain_lora
from layersel.data.tokens import TokenizedTexts
from layersel.runs.code import class_path
from layersel.runs.fingerprints import fingerprint, flat_options
from layersel.runs.store import Store, Tensors
from layersel.selection.score import BUDGET, WARM_UP, LayerScores, Probe
from layersel.selection.select import score_layers
from layersel.tasks.problem import Problem, Recall
from layersel.terminal.tables import note

PREFIXES = PrefixMemory()
"""States that the cells of this process leave to each other."""


class Shared:
    """The part of a cell's work that depends on few of its options.

    Args:
        cell: Says where it is kept; with `shared=null` all of it is the cell's own.
    """

    def __init__(self, cell: Cell):
        self.cell = cell
        self.store = Store(None if cell.shared is None else Path(cell.shared))

    def texts(self, problem: Problem, backbone: Backbone) -> TokenizedTexts:
        """Returns the texts of a problem and their token ids."""
        tokenizer, max_length = backbone.tokenizer, backbone.max_length
        if tokenizer is None:
            raise RuntimeError("a pretrained model is loaded with its tokenizer")
        texts = problem.texts(tokenizer)
        found = self.store.tensors(
            "tokens",
            [self._model(backbone), max_length, texts, problem.token_key],
            lambda: _packed_tokens(problem.tokenized(tokenizer, max_length)),
            code=[TokenizedTexts, problem.tokenized],
        )
        return _unpacked_tokens(texts, found, max_length)

    def of_pretrained(self, texts: TokenizedTexts, backbone: Backbone) -> Recall:
        """Returns what finds, or else computes and keeps, a tensor of these texts and the pretrained model."""
        return self._recall([self._encoding(backbone), texts.tokens], [])

    def of_trained(self, texts: TokenizedTexts, training: AdapterTraining) -> Recall | None:
        """Returns the same of the trained model instead of the pretrained one; None where only this cell trains so."""
        if not self.spares(training):
            return None
        encoding = [self._encoding(training.backbone), texts.tokens]
        return self._recall([encoding, self._training_key(training)], self._training_code())

    def layer_scores(self, backbone: Backbone, probe: Probe, problem: Problem) -> LayerScores:
        """Returns the layers' scores, whatever the budget; those that look at the pretrained model are stored."""
        score, task = self.cell.selection, self.cell.task
        if not score.measures or self.cell.steps[0] != TRAIN:
            return score_layers(score, backbone, probe)
        key: list[Any] = [[self._model(backbone), _hardware(backbone.device)], class_path(score)]
        key += [
            {name: value for name, value in asdict(score).items() if name not in BUDGET},
            probe.generator.initial_seed(),
        ]
        code = [score, self.cell.model]
        if score.n_texts:
            key += [[[batch[name].tolist() for name in ("input_ids", "attention_mask")] for batch in probe.batches]]
        if score.n_batches or WARM_UP in score.needs:  # then the task's own loss is asked
            key += [problem.dataset.fingerprint(), class_path(task), flat_options("task", task), self.cell.seed]
            key += [backbone.batch_tokens]
            code += [task]
        if WARM_UP in score.needs:
            lora = asdict(plain_lora(self.cell.adapter))
            key += [lora, task.content(), self.cell.precision.train, self.cell.trainer.compile]
            code += [WarmUp]
        found = self.store.tensors("scores", key, lambda: _packed_scores(score_layers(score, backbone, probe)), code)
        return _unpacked_scores(found)

    def trained(self, training: AdapterTraining, loggers: Sequence[Logger]) -> Trained:
        """Trains, or finds what another cell of the grid has trained that chose the same layers by another score."""
        if not self.spares(training):
            return training.run(loggers)
        here: list[Trained] = []

        def packed() -> Tensors:
            here.append(training.run(loggers))
            return here[0].packed()

        found = self.store.tensors("trainings", self._training_key(training), packed, self._training_code())
        if here:
            return here[0]
        note("training: another cell has trained these layers; its result is taken")
        return training.restored(found, loggers)

    def spares(self, training: AdapterTraining) -> bool:
        """Returns whether another cell may do this training: the pretrained model's, in layers that stay the same.

        One that resumes may have begun on other hardware.
        """
        cell = self.cell
        if cell.grid is None or cell.shared is None or cell.force or training.resumes:
            return False
        return training.trains and cell.steps[0] == TRAIN and not cell.regime.moves

    def prefixes(self, texts: TokenizedTexts, backbone: Backbone, start: int) -> PrefixCache:
        """Returns a cache of what enters the pretrained layer `start`, in a grid with what other cells have left."""
        max_bytes = self.cell.task.prefix_cache_bytes
        if self.cell.shared is None or self.cell.grid is None:
            return PrefixCache(backbone, texts.tokens, start, max_bytes)
        content = fingerprint([self._encoding(backbone), texts.tokens])
        return PrefixCache(backbone, texts.tokens, start, max_bytes, PREFIXES, content)

    def _recall(self, about: list[Any], about_code: Sequence[Any]) -> Recall:
        """Returns what finds, or else computes and keeps, a tensor that what `about` says decides."""

        def recall(kind: str, key: Any, compute: Callable[[], Tensor], code: Sequence[Any]) -> Tensor:
            code = [*code, *about_code, self.cell.model]
            return self.store.tensors(kind, [about, key], lambda: {kind: compute()}, code)[kind]

        return recall

    def _training_key(self, training: AdapterTraining) -> list[Any]:
        """Returns what decides a training: the chosen layers and all options but those that led to them."""
        cell, allocation = self.cell, training.selection.allocation
        backbone, task, adapter = training.backbone, cell.task, cell.adapter
        return [
            [self._model(backbone), _hardware(backbone.device), backbone.batch_tokens],
            [training.problem.dataset.fingerprint(), task.content(), cell.seed],
            [class_path(task), flat_options("task", task), class_path(adapter), flat_options("adapter", adapter)],
            [training.data.train_tokens, list(training.data.train)],
            [cell.precision.train, cell.trainer.compile, cell.trainer.devices, os.environ.get("OMP_NUM_THREADS")],
            [training.selection.layers, None if allocation is None else allocation.ranks],
        ]

    def _training_code(self) -> list[Any]:
        return [AdapterTraining, self.cell.task, self.cell.adapter, self.cell.model]

    def _model(self, backbone: Backbone) -> list[str | None]:
        """Returns the pretrained model, and which commit of it if it is from the hub."""
        return [self.cell.model.fingerprint(), getattr(backbone.model.config, "_commit_hash", None)]

    def _encoding(self, backbone: Backbone) -> list[Any]:
        """Returns what decides how texts are encoded by the pretrained model."""
        infer = "fp32" if self.cell.precision.quantises else self.cell.precision.infer
        return [self._model(backbone), _hardware(backbone.device), infer, backbone.batch_tokens]


def _hardware(device: torch.device) -> list[Any]:
    """Returns what decides the last bits of a matrix product."""
    on_cpu = device.type == "cpu"
    processor = torch.backends.cpu.get_cpu_capability() if on_cpu else torch.cuda.get_device_name(device)
    return [platform.machine(), processor, torch.get_num_threads(), torch.get_float32_matmul_precision()]


def _packed_tokens(texts: TokenizedTexts) -> Tensors:
    return {
        "ids": torch.tensor([token for ids in texts.tokens for token in ids], dtype=torch.long),
        "lengths": torch.tensor([len(ids) for ids in texts.tokens]),
        "full_lengths": torch.tensor(texts.full_lengths),
        "answers": torch.tensor([is_one for own in texts.answers for is_one in own], dtype=torch.uint8),
    }


def _unpacked_tokens(texts: list[str], packed: Tensors, max_length: int) -> TokenizedTexts:
    lengths: list[int] = packed["lengths"].tolist()
    tokens = [ids.tolist() for ids in torch.split(packed["ids"], lengths)]
    answers = [own.tolist() for own in torch.split(packed["answers"], lengths)] if len(packed["answers"]) else []
    return TokenizedTexts(texts, tokens, packed["full_lengths"].tolist(), max_length, answers)


def _packed_scores(scores: LayerScores) -> Tensors:
    named = json.dumps({"excluded": scores.excluded, "modules": scores.modules})
    packed = {"values": scores.values_L, "named": torch.tensor(list(named.encode()), dtype=torch.uint8)}
    return packed if scores.resampled_SL is None else packed | {"resampled": scores.resampled_SL}


def _unpacked_scores(packed: Tensors) -> LayerScores:
    named = json.loads(bytes(packed["named"].tolist()))
    excluded = {int(layer): reason for layer, reason in named["excluded"].items()}
    return LayerScores(packed["values"], excluded, packed.get("resampled"), named["modules"])
