"""What the cells of a grid compute once for all of them: tokens, TF-IDF, base vectors, layer scores, prefix states.

Whatever comes from another cell is, to the last bit, what this one would have computed.
"""

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from layersel.backbone.backbone import Backbone
from layersel.backbone.prefix import PrefixCache, PrefixMemory
from layersel.cell.options import Cell
from layersel.cell.steps import TRAIN
from layersel.data.reviews.records import Record
from layersel.data.tokens import TokenIds, TokenizedTexts, record_text
from layersel.runs.fingerprints import fingerprint
from layersel.runs.store import Store, Tensors
from layersel.selection.score import LayerScores, Probe, ProbeScore, Score
from layersel.tasks.screening.problem import Screened

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

    def texts(self, records: Sequence[Record], backbone: Backbone) -> TokenizedTexts:
        """The texts of a review and their token ids."""
        max_length, texts = backbone.max_length, TokenizedTexts.strings(records, backbone.tokenizer)
        found = self.store.tensors(
            "tokens",
            [self._model(backbone), max_length, texts],
            lambda: _tokens_packed(TokenizedTexts.of(records, backbone.tokenizer, max_length)),
        )
        return _tokens_unpacked(texts, found, max_length)

    def tfidf_scores(self, screened: Screened) -> Tensor:
        """Scores (N) of the baseline without an encoder."""
        train = screened.split.train
        words = [record_text(record, " ") for record in screened.review.records]
        key = [words, train, screened.labels(train).tolist()]
        return self.store.tensors("tfidf", key, lambda: {"scores": screened.tfidf_scores()})["scores"]

    def base_vectors(self, tokens: Sequence[TokenIds], backbone: Backbone, encode: Callable[[], Tensor]) -> Tensor:
        """Vectors (N×D) of these texts from the pretrained model, which `encode` computes."""
        key = [self._encoding(backbone), tokens]
        return self.store.tensors("vectors", key, lambda: {"vectors": encode()})["vectors"]

    def layer_scores(self, score: Score, backbone: Backbone, probe: Probe) -> LayerScores:
        """The layers' scores, whatever the budget; what needs no probe, or is of a compressed model, is computed."""
        if not isinstance(score, ProbeScore) or self.cell.steps[0] != TRAIN:
            return score.scores(backbone, probe)
        options = {name: value for name, value in asdict(score).items() if name != "n"}
        texts = [[batch[name].tolist() for name in ("input_ids", "attention_mask")] for batch in probe.batches]
        model = [self._model(backbone), _hardware(backbone.device)]
        key = [model, score.name, options, probe.generator.initial_seed(), texts]
        found = self.store.tensors("scores", key, lambda: _scores_packed(score.scores(backbone, probe)))
        return _scores_unpacked(found)

    def prefixes(self, tokens: Sequence[TokenIds], backbone: Backbone, start: int) -> PrefixCache:
        """A cache of what enters layer `start` of the pretrained layers, in a grid with what other cells have left."""
        max_bytes = self.cell.task.prefix_cache_mb * 2**20
        if self.cell.shared is None or self.cell.grid is None:
            return PrefixCache(backbone, tokens, start, max_bytes)
        content = fingerprint([self._encoding(backbone), tokens])
        return PrefixCache(backbone, tokens, start, max_bytes, PREFIXES, content)

    def _model(self, backbone: Backbone) -> list[str | None]:
        """The pretrained model, and which commit of it if it is from the hub."""
        return [self.cell.model.fingerprint(), getattr(backbone.model.config, "_commit_hash", None)]

    def _encoding(self, backbone: Backbone) -> list[Any]:
        """What decides how texts are encoded by the pretrained model."""
        infer = "fp32" if self.cell.precision.quantises else self.cell.precision.infer
        return [self._model(backbone), _hardware(backbone.device), infer, backbone.batch_tokens]


def _hardware(device: torch.device) -> list[Any]:
    """What decides the last bits of a matrix product."""
    on_cpu = device.type == "cpu"
    processor = torch.backends.cpu.get_cpu_capability() if on_cpu else torch.cuda.get_device_name(device)
    return [platform.machine(), processor, torch.get_num_threads(), torch.get_float32_matmul_precision()]


def _tokens_packed(texts: TokenizedTexts) -> Tensors:
    return {
        "ids": torch.tensor([token for ids in texts.tokens for token in ids], dtype=torch.long),
        "lengths": torch.tensor([len(ids) for ids in texts.tokens]),
        "full_lengths": torch.tensor(texts.full_lengths),
    }


def _tokens_unpacked(texts: list[str], packed: Tensors, max_length: int) -> TokenizedTexts:
    tokens = [ids.tolist() for ids in torch.split(packed["ids"], packed["lengths"].tolist())]
    return TokenizedTexts(texts, tokens, packed["full_lengths"].tolist(), max_length)


def _scores_packed(scores: LayerScores) -> Tensors:
    excluded = torch.tensor(list(json.dumps(scores.excluded).encode()), dtype=torch.uint8)
    packed = {"values": scores.values_L, "excluded": excluded}
    return packed if scores.resampled_SL is None else packed | {"resampled": scores.resampled_SL}


def _scores_unpacked(packed: Tensors) -> LayerScores:
    excluded = json.loads(bytes(packed["excluded"].tolist()))
    reasons = {int(layer): reason for layer, reason in excluded.items()}
    return LayerScores(packed["values"], reasons, packed.get("resampled"))
