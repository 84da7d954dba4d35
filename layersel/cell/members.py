"""The adapters that a merging cell merges: finished training runs, found or made."""

import copy
import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from layersel.backbone.pretrained import Pretrained
from layersel.cell.options import Cell
from layersel.cell.steps import TRAIN
from layersel.config import TARGET, build_group, choice
from layersel.data.reviews.source import Source
from layersel.data.tokens import TokenizedTexts
from layersel.errors import UserError
from layersel.runs.fingerprints import review_fingerprint
from layersel.runs.folder import RunFolder
from layersel.runs.tracking import under_sweep_agent
from layersel.tasks.screening.problem import Screened

UNCOMPRESSED = "fp32"
"""The inference precision of training cells where that of the merging cell is in integers."""


@dataclass(frozen=True)
class Member:
    """A finished training run whose adapter is merged with others.

    Attributes:
        name: Of its review.
        folder: The run.
        screened: Its review, split as in the run.
        own: The run's metrics.
    """

    name: str
    folder: RunFolder
    screened: Screened
    own: dict[str, Any]

    @classmethod
    def of(cls, folder: RunFolder, cell: Cell) -> "Member":
        """The run in `folder`, checked against the merging cell.

        Raises:
            UserError: No finished run is there with an adapter of that pretrained model, measured as this cell does.
        """
        config = folder.read_config()
        _check_adapter(folder, config)
        _check_model(folder, build_group("model", config["model"]), cell.model)
        _check_measured_alike(folder, config, cell)
        source: Source = build_group("data", config["data"])
        screened = Screened.load(source, config["seed"])
        return cls(screened.review.name, folder, screened, folder.read_metrics())

    def fingerprint(self) -> str:
        """A hash of what the merge takes from the run: adapter, head, metrics, and the review."""
        digest = hashlib.sha256(review_fingerprint(self.screened.review).encode())
        for file in [*sorted(self.folder.adapter.iterdir()), self.folder.head, self.folder.metrics]:
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def check_unchanged(self, texts: TokenizedTexts) -> None:
        """The review must still give the records that the adapter learnt from, or some of them would be tested on."""
        learnt = json.loads(self.folder.training_records.read_text(encoding="utf-8"))
        if learnt != self.screened.learnt_records(texts):
            raise UserError(f"merging: the file of review {self.name} has changed since {str(self.folder.path)!r} ran")


def training_config(cell: Cell, config: dict[str, Any], review: str) -> dict[str, Any]:
    """The config of the training cell of one of the reviews: no merging, nothing compressed."""
    own = copy.deepcopy(config)
    own["data"][cell.data.named_by] = review
    own |= {"merging": choice("merging", "none"), "pruning": choice("pruning", "none"), "force": False}
    if cell.precision.quantises:
        own["precision"]["infer"] = UNCOMPRESSED
    if under_sweep_agent():
        own["logger"]["mode"] = "disabled"  # the agent's one run is the merging cell's
    return own


def name_a_review(config: DictConfig) -> DictConfig:
    """The config, with the first of `merging.reviews` as its review where it has none: each has its turn anyway."""
    reviews = OmegaConf.select(config, "merging.reviews")
    option = get_class(config.data[TARGET]).named_by  # type: ignore[attr-defined]
    if reviews and option is not None and OmegaConf.is_missing(config.data, option):
        config = copy.deepcopy(config)
        config.data[option] = reviews[0]
    return config


def _check_adapter(folder: RunFolder, config: dict[str, Any]) -> None:
    run, adapter = str(folder.path), build_group("adapter", config["adapter"])
    if folder.merging.is_file():
        raise UserError(
            f"merging.runs: expected training runs, but {run!r} has merged others; name those that it merged"
        )
    if not folder.adapter.is_dir():
        raise UserError(f"merging.runs: expected runs with an adapter, but {run!r} has none to merge")
    if adapter.moves_biases:
        raise UserError(
            f"merging.runs: expected adapters of weight matrices only, but {run!r} has adapter={adapter.name}, which "
            "changes biases too; train with adapter=lora"
        )
    if adapter.quantised_base or folder.read_steps() != [TRAIN]:
        raise UserError(
            f"merging.runs: expected adapters trained and measured on uncompressed weights, but {run!r} has compressed "
            "them; train with pruning=none precision=fp32"
        )


def _check_model(folder: RunFolder, base: Pretrained, model: Pretrained) -> None:
    """What decides the vectors must agree; the same files may lie elsewhere."""
    differing = [name for name in ("pooling", "max_length") if getattr(base, name) != getattr(model, name)]
    if (base.path, base.revision) != (model.path, model.revision):
        alike = [replace(own, attention_dropout=0.0, pooling="cls", max_length=1) for own in (base, model)]
        differing += ["path"] if alike[0].fingerprint() != alike[1].fingerprint() else []
    if differing:
        raise UserError(
            f"merging.runs: expected adapters of one pretrained model, but {str(folder.path)!r} has "
            + ", ".join(f"model.{name}={getattr(base, name)} (here {getattr(model, name)})" for name in differing)
            + "; give model=… as in the runs"
        )


def _check_measured_alike(folder: RunFolder, config: dict[str, Any], cell: Cell) -> None:
    """The run's own numbers stand beside those of the merged adapter."""
    infer = UNCOMPRESSED if cell.precision.quantises else cell.precision.infer
    here = {
        "task.head_c": cell.task.head_c,
        "task.normalize": cell.task.normalize,
        "precision.infer": infer,
        "precision.matmul": cell.precision.matmul,
    }
    for option, value in here.items():
        group, _, name = option.partition(".")
        own = getattr(build_group(group, config[group]), name)
        if own != value:
            raise UserError(
                f"{option}: expected {own} as in {str(folder.path)!r}, whose numbers are compared with, but got {value}"
            )
