"""What a run prints: tables and notes on the terminal, plain text elsewhere."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from layersel.data.reviews.records import Review
from layersel.data.reviews.report import token_lengths
from layersel.data.tokens import TokenizedTexts
from layersel.selection.selection import Selection
from layersel.tasks.screening.few_shot import FewShot

RANKINGS = {"": "adapted", "base/": "pretrained", "tfidf/": "TF-IDF + SVM"}


def note(text: str | None) -> None:
    """A line of its own, never wrapped; None prints nothing."""
    if text is not None:
        _console().print(text, soft_wrap=True, markup=False, highlight=False)


def show_review(review: Review, split: FewShot) -> None:
    """What was read and how it is split."""
    show_report(review)
    included = int(split.labels[split.test].sum())
    note(
        f"{len(split.train)} labelled records to learn from; {len(split.test)} to test on, {included} of them included"
    )
    repeated = split.repeated(review)
    if repeated:
        note(
            f"{repeated} of the test records repeat a record that is learnt from; data.duplicates=drop leaves them out"
        )


def show_report(review: Review) -> None:
    """What was read."""
    for line in review.report.lines():
        note(line)


def show_lengths(texts: TokenizedTexts) -> None:
    """Token lengths, and how many texts are cut."""
    lengths = token_lengths(texts.full_lengths, texts.max_length)
    note("token lengths: " + ", ".join(f"{name} {value:.0f}" for name, value in lengths.items()))


def show_selection(selection: Selection) -> None:
    """Layers, scores, chosen or not, and why."""
    table = Table(title=f"Layers by {selection.score}", title_justify="left")
    for heading, justify in (("layer", "right"), ("score", "right"), ("chosen", "center")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    stability = selection.stability
    if stability is not None:
        table.add_column("chosen in resamples", justify="right")
    table.add_column("why")
    for layer, score in enumerate(selection.scores):
        chosen = layer in selection.layers
        share = [] if stability is None else [f"{stability.chosen_share[layer]:.0%}"]
        style = "bold" if chosen else None
        table.add_row(
            str(layer), f"{score:.4f}", "yes" if chosen else "", *share, selection.reasons[layer], style=style
        )
    _console().print(table)
    if stability is not None and not math.isnan(stability.rank_correlation):
        note(
            f"stability: rank correlation {stability.rank_correlation:.2f} over {stability.samples} bootstrap samples "
            "of the probe"
        )


def show_metrics(metrics: Mapping[str, Any]) -> None:
    """The closing table: each metric of the adapted encoder, of the pretrained one, and of TF-IDF."""
    names = [name.removeprefix("base/") for name in metrics if name.startswith("base/")]
    table = Table(title=f"{metrics['n_test']} test records, {metrics['n_included']} included", title_justify="left")
    table.add_column("metric")
    columns = {prefix: title for prefix, title in RANKINGS.items() if f"{prefix}{names[0]}" in metrics}
    for title in columns.values():
        table.add_column(title, justify="right")
    for name in names:
        table.add_row(name, *(_number(metrics[f"{prefix}{name}"]) for prefix in columns))
    _console().print(table)
    trainable, total = metrics["parameters/trainable"], metrics["parameters/total"]
    note(f"{trainable:,} of {total:,} parameters trained; {metrics['seconds/total']:.0f} s in all")


def show_merging(metrics: Mapping[str, Any], reviews: Sequence[str], compressed: bool, metric: str = "awss@95") -> None:
    """A row for each review: what the merged adapter, its own and the pretrained encoder are worth for it.

    `compressed` says that the merged encoder is; the two others never are.
    """
    table = Table(title=f"{metric} of one adapter for all", title_justify="left")
    table.add_column("review")
    merged = "merged, compressed" if compressed else "merged"
    for heading in (merged, "own adapter", "pretrained", "test records"):
        table.add_column(heading, justify="right")
    for review in reviews:
        values = [metrics[f"{review}/{kind}{metric}"] for kind in ("", "own/", "base/")]
        table.add_row(review, *map(_number, values), str(metrics[f"{review}/n_test"]))
    means = [metrics[f"{kind}{metric}"] for kind in ("", "own/", "base/")]
    table.add_row("mean", *map(_number, means), "", style="bold")
    _console().print(table)


def show_scores(metrics: Mapping[str, Any]) -> None:
    """The metrics of one ranking."""
    table = Table(title=f"{metrics['n_test']} test records, {metrics['n_included']} included", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        if isinstance(value, float):
            table.add_row(name, _number(value))
    _console().print(table)


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _console() -> Console:
    """Made for each call: it looks where standard output points now."""
    return Console(width=None if Console().is_terminal else 120)
