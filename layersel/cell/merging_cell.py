"""What a merging cell does: one adapter out of several, and what it is worth for each of their datasets."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from layersel.adapters.change import Change
from layersel.adapters.loading import load_adapter
from layersel.adapters.saving import save_lora
from layersel.backbone.backbone import Backbone
from layersel.cell.adapted_model import AdaptedModel
from layersel.cell.attempt import CellAttempt
from layersel.cell.members import Member
from layersel.cell.merge_weights import learnt_weights, searched_weights
from layersel.cell.options import Cell
from layersel.cell.shared import Shared
from layersel.cell.steps import TRAIN
from layersel.data.tokens import TokenIds, TokenizedTexts
from layersel.files import write_json
from layersel.merging.conflicts import conflicts
from layersel.merging.live import module_layers
from layersel.merging.merge import check_mergeable, merge_adapters
from layersel.merging.method import LearntWeights, MergeMethod
from layersel.seeding import stream
from layersel.terminal.figures import PNG, SVG, grouped_bars, write_figures
from layersel.terminal.tables import note

KINDS = {"": "merged", "own/": "own", "base/": "base"}


class MergingCell:
    """One attempt at a merging cell: its stages, in the order in which `run` calls them.

    Args:
        cell: The options.
        method: How adapters are merged.
        members: The runs whose adapters are merged.
        attempt: The folder, the loggers and the clock of the attempt.
    """

    def __init__(self, cell: Cell, method: MergeMethod, members: Sequence[Member], attempt: CellAttempt):
        self.cell, self.method, self.members, self.attempt = cell, method, members, attempt
        self.folder, self.clock = attempt.folder, attempt.clock

    def run(self) -> None:
        """Does everything; the results are in the folder."""
        backbone, texts = self.load()
        visible = [texts[member.name].tokens[text] for member in self.members for text in member.problem.visible]
        model = AdaptedModel(self.cell, backbone, visible)
        with self.clock("merge_adapters"):
            self.merge(model, {name: own.tokens for name, own in texts.items()})
        for step in self.cell.steps:
            with self.clock(step):
                if step == TRAIN:
                    model.placed = load_adapter(backbone, self.folder.adapter)
                else:
                    model.compress(step)
            model.end(step)
        metrics = self.judge(model, texts)
        model.save(self.folder)
        write_json(self.folder.metrics, metrics)
        self.report(model, metrics)

    def load(self) -> tuple[Backbone, dict[str, TokenizedTexts]]:
        """Loads the model and tokenises all texts; the datasets must be what the members have learnt from."""
        with self.clock("load"):
            backbone = self.cell.model.load(self.cell.task.auto_class).to(self.cell.trainer.device)
            shared = Shared(self.cell)
            texts = {member.name: shared.texts(member.problem, backbone) for member in self.members}
        for member in self.members:
            member.check_unchanged(texts[member.name])
        learnt = [record for member in self.members for record in member.problem.learnt(texts[member.name])]
        write_json(self.folder.training_records, learnt)
        return backbone, texts

    def merge(self, model: AdaptedModel, tokens: dict[str, list[TokenIds]]) -> None:
        """Writes the merged adapter as a plain PEFT folder, and what was merged, conflicts and is lost."""
        changes = {member.name: self.changes(member) for member in self.members}
        adapters, layer_of = list(changes.values()), module_layers(model.backbone)
        check_mergeable(self.method, adapters, layer_of)
        found = conflicts(changes)
        for conflict in found:
            note(conflict.line())
        weights_TL = self.weights(model, list(tokens.values()), adapters)
        merged = merge_adapters(self.method, adapters, layer_of, stream(self.cell.seed, "merging"), weights_TL)
        save_lora(merged.factors, self.folder.adapter)
        note(
            f"{self.method.name}: {len(merged.factors)} modules; rank {self.method.rank} loses "
            f"{merged.total_lost:.1%} of the merged change's squared norm"
        )
        content = {
            "method": self.method.name,
            "adapters": {member.name: str(member.folder.path) for member in self.members},
            "weights": merged.weights_TL.tolist(),
            "lost": merged.lost,
            "total_lost": merged.total_lost,
            "conflicts": [{**asdict(conflict), "verdict": conflict.verdict} for conflict in found],
        }
        write_json(self.folder.merging, content)

    def changes(self, member: Member) -> dict[str, Change]:
        """Returns what the adapter of a member changes."""
        backbone = self.cell.model.load(self.cell.task.auto_class)
        return load_adapter(backbone, member.folder.checked(member.folder.adapter)).changes()

    def weights(
        self, model: AdaptedModel, tokens: list[list[TokenIds]], adapters: list[dict[str, Change]]
    ) -> Tensor | None:
        """λ, learnt or searched if the method wants that."""
        if isinstance(self.method, LearntWeights):
            return learnt_weights(self.method, model, self.members, tokens, adapters)
        if self.method.search is not None:
            return searched_weights(self.method, model, self.members, tokens, adapters)
        return None

    def judge(self, model: AdaptedModel, texts: dict[str, TokenizedTexts]) -> dict[str, Any]:
        """Returns the metrics of every dataset, their means, and those of the run."""
        metrics: dict[str, Any] = {}
        with self.clock("judge"):
            for member in self.members:
                metrics |= self.judge_on(member, model, texts[member.name])
        metrics |= _means(metrics, [member.name for member in self.members])
        return metrics | model.metrics() | self.clock.metrics()

    def judge_on(self, member: Member, model: AdaptedModel, texts: TokenizedTexts) -> dict[str, Any]:
        """Returns the metrics of the merged adapter on one dataset, under its own head, beside those of its run."""
        subject = model.subject(texts, model.cache(texts.tokens, start=0), member.name)
        outcome = member.problem.judge(subject)
        member.problem.write(outcome, self.folder.of_dataset(member.name))
        own = {f"own/{name}": member.own[name] for name in outcome.metrics}
        base = {f"base/{name}": member.own[f"base/{name}"] for name in outcome.metrics}
        counts = outcome.counts | {"n_learnt_by_others": self.learnt_by_others(member, texts)}
        return {f"{member.name}/{name}": value for name, value in (outcome.metrics | own | base | counts).items()}

    def learnt_by_others(self, member: Member, texts: TokenizedTexts) -> int:
        """Returns how many test texts of a member another's adapter, and so the merged one, has learnt from."""
        others = frozenset().union(*(other.learnt for other in self.members if other is not member))
        return sum(member.problem.fingerprint_of(index, texts) in others for index in member.problem.test)

    def report(self, model: AdaptedModel, metrics: dict[str, Any]) -> None:
        """Draws the figure and logs what was measured once."""
        metric, tracker = self.cell.task.primary, self.attempt.tracker
        values = {
            member.name: {
                title: _nan_for_none(metrics[f"{member.name}/{kind}{metric.name}"]) for kind, title in KINDS.items()
            }
            for member in self.members
        }
        tracker.table("merging", ["dataset", *KINDS.values()], [[name, *own.values()] for name, own in values.items()])
        about = {"base_model": self.cell.model.path, "datasets": list(values)}
        tracker.artifact(self.folder.path.name, self.folder.adapter, about)
        forms = [PNG, SVG] if self.cell.draws_all else [PNG]
        tracker.images(write_figures({"merging": grouped_bars(values, metric.title)}, self.folder.figures, forms))
        tracker.summary(metrics | model.summary())


def _means(metrics: dict[str, Any], datasets: list[str]) -> dict[str, float]:
    """Returns the mean of each metric over the datasets that have it."""
    first = f"{datasets[0]}/"
    names = [name.removeprefix(first) for name in metrics if name.startswith(first)]
    return {
        name: _mean(metrics[f"{dataset}/{name}"] for dataset in datasets) for name in names if not name.startswith("n_")
    }


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in map(_nan_for_none, values) if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _nan_for_none(value: float | None) -> float:
    """Returns the number; JSON has null for NaN."""
    return math.nan if value is None else value
