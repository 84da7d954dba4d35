"""The adapters that a merging cell merges: finished training runs, found or made."""

import copy
import json
from dataclasses import dataclass
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from layersel.adapters import Adapter
from layersel.backbone import Pretrained
from layersel.cell.options import Cell
from layersel.cell.screened import Screened
from layersel.cell.steps import TRAIN
from layersel.config import TARGET, build_group, choice
from layersel.data import Source
from layersel.data.tokens import TokenizedTexts
from layersel.errors import UserError
from layersel.run_folder import RunFolder


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
    def of(cls, folder: RunFolder, model: Pretrained) -> "Member":
        """The run in `folder`, checked against the merging cell's model.

        Raises:
            UserError: No finished run with an adapter of that pretrained model is there.
        """
        config = folder.read_config()
        _check_adapter(folder, config)
        base: Pretrained = build_group("model", config["model"])
        if base.fingerprint() != model.fingerprint():
            raise UserError(
                f"merging.runs: expected adapters of one pretrained model, but {str(folder.path)!r} is of {base.path} "
                f"(pooling {base.pooling}) and this cell of {model.path} ({model.pooling}); give model=… of the runs"
            )
        source: Source = build_group("data", config["data"])
        screened = Screened.load(source, config["seed"])
        return cls(screened.review.name, folder, screened, folder.read_metrics())

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
        own["precision"]["infer"] = "fp32"
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
    adapter: Adapter = build_group("adapter", config["adapter"])
    if not folder.adapter.is_dir() or adapter.moves_biases:
        raise UserError(
            f"merging.runs: expected runs with an adapter of weight matrices only, but got {str(folder.path)!r} with "
            f"adapter={adapter.name}; train with adapter=lora"
        )
    if adapter.quantised_base or folder.read_steps()[0] != TRAIN:
        raise UserError(
            f"merging.runs: expected adapters trained on the pretrained weights, but those of {str(folder.path)!r} "
            "were compressed before; train with order=[train,merge,prune,quantise]"
        )
