"""What a merging cell does: one adapter out of several, and what it is worth for each of their reviews."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from lightning import seed_everything
from torch import Tensor

from layersel.adapters.change import Change
from layersel.adapters.loading import load_adapter
from layersel.adapters.saving import save_lora
from layersel.cell.encoder import Encoder
from layersel.cell.members import Member
from layersel.cell.merge_weights import learnt_weights, searched_weights
from layersel.cell.options import Cell
from layersel.cell.shared import Shared
from layersel.data.tokens import TokenIds, TokenizedTexts
from layersel.files import file_name, write_json
from layersel.merging.conflicts import conflicts
from layersel.merging.live import module_layers
from layersel.merging.merge import check_mergeable, merge_adapters
from layersel.merging.method import MergeMethod
from layersel.merging.methods.adamerging import AdaMerging
from layersel.runs.fingerprints import text_fingerprint
from layersel.runs.folder import RunFolder
from layersel.runs.stopwatch import Stopwatch
from layersel.runs.tracking import Tracker
from layersel.seeding import stream
from layersel.terminal import tables
from layersel.terminal.figures import merging_bars, write_figures

KINDS = {"": "merged", "own/": "own", "base/": "base"}


class MergingRun:
    """One attempt at a merging cell: its stages, in the order in which `run` calls them."""

    def __init__(
        self,
        cell: Cell,
        method: MergeMethod,
        members: list[Member],
        folder: RunFolder,
        tracker: Tracker,
        clock: Stopwatch,
    ):
        self.cell, self.method, self.members = cell, method, members
        self.folder, self.tracker, self.clock = folder, tracker, clock

    def run(self) -> None:
        """Do everything; the results are in the folder."""
        encoder, texts = self._load()
        with self.clock("merge_adapters"):
            self._merge(encoder, texts)
        for step in self.cell.steps:
            with self.clock(step):
                encoder.take(step, lambda: load_adapter(encoder.backbone, self.folder.adapter))
        metrics: dict[str, Any] = {}
        with self.clock("encode"):
            for member in self.members:
                metrics |= self._measure(member, encoder, texts[member.name])
        metrics |= _means(metrics, [member.name for member in self.members])
        metrics |= encoder.metrics() | self.clock.metrics()
        encoder.save(self.folder)
        write_json(self.folder.metrics, metrics)
        self._report(metrics, encoder)

    def _load(self) -> tuple[Encoder, dict[str, TokenizedTexts]]:
        self.cell.trainer.apply_threads()
        seed_everything(self.cell.seed, verbose=False)
        with self.clock("load"):
            backbone = self.cell.model.load().to(self.cell.trainer.device)
            shared = Shared(self.cell)
            texts = {member.name: shared.texts(member.screened.review.records, backbone) for member in self.members}
        for member in self.members:
            member.check_unchanged(texts[member.name])
        learnt = [record for member in self.members for record in member.screened.learnt_records(texts[member.name])]
        write_json(self.folder.training_records, learnt)
        return Encoder(self.cell, backbone, [ids for own in texts.values() for ids in own.tokens]), texts

    def _merge(self, encoder: Encoder, texts: dict[str, TokenizedTexts]) -> None:
        """The merged adapter as a plain PEFT folder; `merging.json` says what was merged, conflicts and is lost."""
        changes = {member.name: self._changes(member) for member in self.members}
        adapters = list(changes.values())
        check_mergeable(self.method, adapters, module_layers(encoder.backbone))
        pairs = conflicts(changes)
        for pair in pairs:
            tables.note(pair.line())
        weights_TL = self._found_weights(encoder, [texts[name].tokens for name in changes], adapters)
        generator = stream(self.cell.seed, "merging")
        merged = merge_adapters(self.method, adapters, module_layers(encoder.backbone), generator, weights_TL)
        save_lora(merged.factors, self.folder.adapter)
        tables.note(
            f"{self.method.name}: {len(merged.factors)} modules; rank {self.method.rank} loses "
            f"{merged.total_lost:.1%} of the merged change's squared norm"
        )
        content = {
            "method": self.method.name,
            "adapters": {member.name: str(member.folder.path) for member in self.members},
            "weights": merged.weights_TL.tolist(),
            "lost": merged.lost,
            "total_lost": merged.total_lost,
            "conflicts": [{**asdict(pair), "verdict": pair.verdict} for pair in pairs],
        }
        write_json(self.folder.merging, content)

    def _found_weights(
        self, encoder: Encoder, tokens: list[list[TokenIds]], adapters: list[dict[str, Change]]
    ) -> Tensor | None:
        """λ learnt or searched, if the method wants that."""
        if isinstance(self.method, AdaMerging):
            return learnt_weights(self.method, encoder, self.members, tokens, adapters)
        if self.method.search is not None:
            return searched_weights(self.method, encoder, self.members, tokens, adapters)
        return None

    def _changes(self, member: Member) -> dict[str, Change]:
        return load_adapter(self.cell.model.load(), member.folder.adapter).changes()

    def _measure(self, member: Member, encoder: Encoder, texts: TokenizedTexts) -> dict[str, Any]:
        """The merged adapter on one review, with a head of its own, beside what the review's run has measured."""
        vectors = encoder.encode(texts.tokens, f"encoding, {member.name}")
        head = member.screened.head(vectors, self.cell.task)
        scores = head.scores(vectors)
        head.save(self.folder.review_head(member.name))
        member.screened.write_ranking(self.folder.rankings / f"{file_name(member.name)}.csv", scores)
        merged = member.screened.metrics(scores)
        counts = member.screened.counts() | {"n_learnt_by_others": self._learnt_by_others(member, texts)}
        own = {f"own/{name}": member.own[name] for name in merged}
        base = {f"base/{name}": member.own[f"base/{name}"] for name in merged}
        return {f"{member.name}/{name}": value for name, value in (merged | own | base | counts).items()}

    def _learnt_by_others(self, member: Member, texts: TokenizedTexts) -> int:
        """How many of its test records another review's adapter has learnt from: the merged one is given these."""
        others = set().union(*(other.folder.read_learnt() for other in self.members if other is not member))
        return sum(text_fingerprint(texts.texts[index]) in others for index in member.screened.split.test)

    def _report(self, metrics: dict[str, Any], encoder: Encoder) -> None:
        values = {
            member.name: {title: _number(metrics[f"{member.name}/{kind}awss@95"]) for kind, title in KINDS.items()}
            for member in self.members
        }
        rows = [[review, *own.values()] for review, own in values.items()]
        self.tracker.table("merging", ["review", *KINDS.values()], rows)
        about = {"base_model": self.cell.model.path, "reviews": list(values)}
        self.tracker.artifact(self.folder.path.name, self.folder.adapter, about)
        self.tracker.images(write_figures({"merging": merging_bars(values, "AWSS@95")}, self.folder.figures))
        self.tracker.summary(metrics | encoder.summary())


def _means(metrics: dict[str, Any], reviews: list[str]) -> dict[str, float]:
    """Of each metric over the reviews that have it."""
    first = f"{reviews[0]}/"
    names = [name.removeprefix(first) for name in metrics if name.startswith(first)]
    return {
        name: _mean(metrics[f"{review}/{name}"] for review in reviews) for name in names if not name.startswith("n_")
    }


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in map(_number, values) if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _number(value: float | None) -> float:
    return math.nan if value is None else value
