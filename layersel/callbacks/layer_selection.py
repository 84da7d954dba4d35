"""Chooses the layers and places the adapter when a training is set up."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from layersel.adapters.adapter import Adapter
from layersel.adapters.placed import Placed, Unadapted
from layersel.adapters.placement import adapted_layers
from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import token_batches
from layersel.callbacks.checkpoint_file import read_checkpoint
from layersel.errors import UserError
from layersel.files import write_json
from layersel.seeding import stream
from layersel.selection.rank_rule import RankRule
from layersel.selection.ranks.uniform import Uniform
from layersel.selection.score import Probe, Score
from layersel.selection.select import make_selection
from layersel.selection.selection import Selection
from layersel.selection.table import show_selection


class LayerSelection(Callback):
    """Places the adapter in the chosen layers of `pl_module.backbone`.

    A selection that is not given is made in `setup`: the layers are scored on `datamodule.probe_tokens`, shown, and
    written to `selection.json`. Setup is before Lightning restores weights and makes optimizers, and only the first
    one acts: a second stage finds the adapter in place. The module is given it as `pl_module.placed`. A run that is
    resumed by `trainer.ckpt_path = FILE` takes the selection of that checkpoint and never scores again, or is refused
    with a `UserError` if the score, the ranks or the adapter are others; `trainer.fit(ckpt_path=FILE)` names the file
    only after `setup`.

    Args:
        score: Which score, with its budget.
        adapter: What is placed.
        seed: Of the probe's draws and the adapter's initial values.
        folder: Where `selection.json` goes; None writes nothing.
        selection: The chosen layers, if they are known.
        ranks: The rule that gives each adapted module its rank; None is the adapter's own rank everywhere.

    Attributes:
        selection: The chosen layers, after `setup`.
        placed: The adapter, after `setup`.
    """

    def __init__(
        self,
        score: Score,
        adapter: Adapter,
        seed: int = 0,
        folder: Path | None = None,
        selection: Selection | None = None,
        ranks: RankRule | None = None,
    ):
        self.score = score
        self.adapter = adapter
        self.seed = seed
        self.folder = folder
        self.selection = selection
        self.ranks = Uniform() if ranks is None else ranks
        self.placed: Placed | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Selects, unless that is done, and places."""
        if self.placed is not None:
            return
        backbone: Backbone = pl_module.backbone  # type: ignore[assignment]
        backbone.requires_grad_(False)
        if adapted_layers(backbone):
            raise RuntimeError("the model carries adapters already; LayerSelection needs the pretrained one")
        if self.selection is None:
            self.selection = self._select(trainer, backbone)
        self.placed = self.place(backbone, self.selection)
        pl_module.placed = self.placed  # type: ignore[assignment]
        if not any(parameter.requires_grad for parameter in pl_module.parameters()):
            trainer.fit_loop.max_epochs = 0  # neither an adapter nor a head to train

    def place(self, backbone: Backbone, selection: Selection) -> Placed:
        """Places the adapter in the chosen layers, with the initial values that the seed gives."""
        if not selection.layers:
            return Unadapted(backbone)
        return self.adapter.place(backbone, selection, stream(self.seed, "adapter"))

    def state_dict(self) -> dict[str, Any]:
        """Returns the selection and the options that led to it, for checkpoints."""
        return {} if self.selection is None else {"selection": self.selection.to_dict(), "options": self._options()}

    def saved_selection(self, checkpoint: Path) -> Selection:
        """Returns the selection that a checkpoint holds.

        Raises:
            UserError: The checkpoint is damaged, or its score, ranks or adapter are others.
        """
        saved = read_checkpoint(checkpoint)["callbacks"][self.state_key]
        _check_same(saved["options"], self._options(), checkpoint)
        return Selection.from_dict(saved["selection"])

    def _select(self, trainer: Trainer, backbone: Backbone) -> Selection:
        """Takes the selection of the checkpoint, or scores on rank 0, so that all processes adapt the same layers."""
        selection = None if trainer.ckpt_path is None else self.saved_selection(Path(trainer.ckpt_path))
        if selection is None:
            backbone.to(trainer.strategy.root_device)
            if trainer.is_global_zero:
                data = trainer.datamodule  # type: ignore[attr-defined]
                size, first = self.score.n_texts, self.score.takes_first
                batches = token_batches(backbone, data.probe_tokens(size, first)) if size else []
                probe = Probe(batches, stream(self.seed, "selection"))
                selection = make_selection(backbone, self.score, probe, count=self.adapter.layer_parameters)
                selection = self.adapter.with_ranks(selection, self.ranks)
            selection = trainer.strategy.broadcast(selection)
        if selection is None:
            raise RuntimeError("rank 0 has sent no selection")
        if trainer.is_global_zero:
            show_selection(selection)
            if self.folder is not None:
                write_json(self.folder / "selection.json", selection.to_dict())
        return selection

    def _options(self) -> dict[str, Any]:
        """Returns the options by the names that the command line has for them."""
        groups: dict[str, Score | RankRule | Adapter]
        groups = {"selection": self.score, "ranks": self.ranks, "adapter": self.adapter}
        options: dict[str, Any] = {group: chosen.name for group, chosen in groups.items()}
        for group, chosen in groups.items():
            options |= {f"{group}.{name}": value for name, value in asdict(chosen).items()}
        return options


def _check_same(saved: dict[str, Any], here: dict[str, Any], file: Path) -> None:
    """Raises a `UserError` with the first option that is another in the checkpoint: a kind comes before its options."""
    for name in sorted(saved.keys() | here.keys()):
        then, now = saved.get(name), here.get(name)
        if then != now:
            raise UserError(
                f"{name}: expected {then} as in the checkpoint {str(file)!r}, but got {now}; delete it to train anew"
            )
