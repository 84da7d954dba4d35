"""The model on its way through the steps of a cell: adapted, merged, pruned, quantised."""

from collections.abc import Sequence
from typing import Any

from layersel.adapters.placed import Placed, Unadapted
from layersel.backbone.backbone import Backbone
from layersel.backbone.prefix import PrefixCache
from layersel.cell.options import Cell
from layersel.cell.steps import MERGE, PRUNE
from layersel.compression.model_files import save_model
from layersel.compression.pruning.pruned import Pruned
from layersel.compression.quantisation.quantised import Quantised
from layersel.data.tokens import TokenIds, TokenizedTexts
from layersel.files import write_json
from layersel.runs.folder import RunFolder
from layersel.seeding import stream
from layersel.tasks.problem import Recall, Subject
from layersel.terminal.tables import note


class AdaptedModel:
    """The backbone, the adapter in it, and what has been done to its weights.

    Args:
        cell: Says which steps there are.
        backbone: The pretrained model; every step changes it in place.
        tokens: Token ids of texts that tell no label, to calibrate on.

    Raises:
        UserError: The pruning does not fit the model.

    Attributes:
        placed: The adapter beside the weights, from its placement until it is merged into them.
        report: What was done, for `compression.json`.
    """

    def __init__(self, cell: Cell, backbone: Backbone, tokens: Sequence[TokenIds]):
        self.cell = cell
        self.backbone = backbone
        self.tokens = tokens
        self.placed: Placed = Unadapted(backbone)
        self.report: dict[str, Any] = {"steps": cell.steps, "infer precision": cell.precision.infer}
        self._pruned: Pruned | None = None
        self._quantised: Quantised | None = None
        self._sparsity: dict[str, float] = {}
        if PRUNE in cell.steps:
            cell.pruning.check(backbone)

    def compress(self, step: str) -> None:
        """Does a step that needs no training: merges the adapter into the weights, prunes, or quantises them."""
        if step == MERGE:
            self.placed.merge()
            self.placed = Unadapted(self.backbone)
        elif step == PRUNE:
            self._pruned = self.cell.pruning.prune(self.backbone, self.tokens, stream(self.cell.seed, "pruning"))
            self.report |= self._pruned.report()
            note(f"pruning: {self._pruned.note}")
        else:
            generator = stream(self.cell.seed, "quantisation")
            self._quantised = self.cell.precision.quantise(self.backbone, self.tokens, generator)
            self.report |= self._quantised.report()
            note(f"precision: {self._quantised.effective}")

    def end(self, step: str) -> None:
        """Zeroes again what pruning had zeroed and the step may have filled, and counts the zeros.

        Raises:
            RuntimeError: Some of the pruned weights are not zero.
        """
        if self._pruned is None:
            return
        self._pruned.reapply(self.backbone)
        self._sparsity[step] = self._pruned.sparsity(self.backbone)
        if not self._pruned.holds(self.backbone):
            raise RuntimeError(f"after step {step} some of the pruned weights are not zero")

    def cache(self, tokens: Sequence[TokenIds], start: int) -> PrefixCache:
        """Returns a cache of what enters layer `start`, as large as the cell allows."""
        return PrefixCache(self.backbone, tokens, start, self.cell.task.prefix_cache_bytes)

    def subject(self, texts: TokenizedTexts, cache: PrefixCache, name: str, recall: Recall | None = None) -> Subject:
        """Returns the model as it stands, under a name for people, with the texts that it is judged on."""
        precision, device = self.cell.precision, self.backbone.device
        return Subject(self.backbone, texts, cache, lambda: precision.inference(device), name, recall)

    def metrics(self) -> dict[str, float]:
        """Returns the share of zero weights after each step from pruning on."""
        return {f"sparsity/after_{step}": share for step, share in self._sparsity.items()}

    def summary(self) -> dict[str, Any]:
        """Returns the report under names for a dashboard."""
        return {f"compression/{name}": value for name, value in self.report.items()}

    def save(self, folder: RunFolder) -> None:
        """Writes what was done, and the model if it is compressed and wanted.

        An adapter that is not merged lies in a folder of its own; what it is relative to are the weights without it.
        """
        write_json(folder.compression, self.report)
        if self.cell.keep_model and (self._pruned is not None or self._quantised is not None):
            with self.placed.disabled():
                save_model(self.backbone, folder.model, self._quantised)
