"""The figures and tables of what a probe says of a model's layers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import layer_representations, token_batches
from layersel.backbone.modes import adapters_off
from layersel.data.texts.examples import Example
from layersel.data.tokens import tokenize
from layersel.files import atomic_path
from layersel.seeding import stream
from layersel.selection.analysis import depth_similarities, separations, smaller_probes
from layersel.selection.figure import layer_scores, probe_curves, separation_curves, similarity_map
from layersel.selection.selection import Selection
from layersel.terminal.figures import PNG, SVG, write_figures
from layersel.terminal.tables import note


def write_analysis(
    folder: Path,
    backbone: Backbone,
    examples: Sequence[Example],
    selection: Selection,
    select: Callable[[list[str]], Selection] | None,
    labelled: bool,
    seed: int,
) -> None:
    """Writes each figure as PNG and SVG, and its numbers as CSV.

    Args:
        folder: Where they go.
        backbone: The model.
        examples: The probe, with labels or without.
        selection: The choice by it.
        select: Makes the choice by some texts; None if it looks at none.
        labelled: Whether the labels are looked at.
        seed: Of the draws.

    Raises:
        UserError: The labels are too few for the classes that they name.
    """
    if backbone.tokenizer is None:
        raise RuntimeError("a pretrained model is loaded with its tokenizer")
    texts = [example.said for example in examples]
    tokens = tokenize(texts, backbone.tokenizer, backbone.max_length)
    with adapters_off(backbone.model):
        states_PND = layer_representations(backbone, token_batches(backbone, tokens), "looking at the layers")
    similarities = depth_similarities(states_PND)
    figures = {"scores": layer_scores(selection), "similarity": similarity_map(similarities)}
    columns, rows = selection.table()
    scores = pd.DataFrame(rows, columns=[name.replace(" ", "_") for name in columns])
    tables = {"scores": scores, "similarity": pd.DataFrame(similarities.numpy())}
    if labelled:
        order = [text for batch in backbone.batches(tokens) for text in batch]  # that of the states
        known = [place for place, text in enumerate(order) if examples[text].label is not None]
        if len(known) < len(order):
            note(
                f"labels: {len(order) - len(known)} of {len(order)} texts have none and are left out of the separation"
            )
        found = separations(states_PND[:, known], [str(examples[order[place]].label) for place in known], seed)
        figures["separation"], tables["separation"] = separation_curves(found), pd.DataFrame(found)
    probes = [] if select is None else smaller_probes(select, texts, selection, stream(seed, "smaller probes"))
    if probes:
        figures["texts"], tables["texts"] = probe_curves(probes), pd.DataFrame(probes)
    _write(folder, figures, tables)
    note(f"figures and tables of {', '.join(figures)} are in {folder}")


def _write(folder: Path, figures: Mapping[str, Figure], tables: Mapping[str, pd.DataFrame]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_figures(figures, folder, (PNG, SVG))
    for name, table in tables.items():
        with atomic_path(folder / f"{name}.csv") as draft:
            table.to_csv(draft, index=False)
