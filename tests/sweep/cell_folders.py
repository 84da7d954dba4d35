"""Folders of cells and grids as a sweep leaves them, made by hand."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from layersel.files import sha256, write_sealed

LABELS = ("dataset", "model", "selection", "n", "adapter", "rank", "precision", "pruning", "merging", "seed")
METRIC = {"name": "awss@95", "title": "AWSS@95", "higher_is_better": True}
DEFAULTS: dict[str, Any] = {
    "dataset": "NSAIDS",
    "model": "minilm",
    "selection": "cka",
    "n": 3,
    "adapter": "lora",
    "rank": 8,
    "precision": "fp32",
    "pruning": "none",
    "merging": "none",
    "seed": 0,
}


def digest(*content: Any) -> str:
    """A hash, as those in `identity.json`."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def dump(file: Path, content: Any) -> None:
    """Write JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def make_cell(
    output: Path,
    awss: float | None = 0.5,
    state: str = "finished",
    *,
    error: str | None = None,
    options: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    metric: dict[str, Any] | None = None,
    lower_is_better: Sequence[str] | None = None,
    versions: str = "1",
    curves: dict[str, Any] | None = None,
    layers: Sequence[int] = (3, 5),
    scores: Sequence[float | None] | None = None,
    stability: dict[str, Any] | None = None,
    **labels: Any,
) -> Path:
    """A cell's folder; only a finished cell has results. `labels` and `options` are those beside the usual ones.

    Of the layers nothing is measured unless `scores` are given.
    """
    labels = DEFAULTS | labels
    flat = {"selection": labels["selection"], "selection.n": labels["n"], "adapter.rank": labels["rank"]}
    flat |= {"task.epochs": 1, "order": "train,merge"} | (options or {})
    what = [labels["model"], labels["precision"], flat]
    hashes = {
        "identity": digest(what, labels["dataset"], labels["seed"], versions),
        "variant": digest(what, labels["dataset"]),
        "configuration": digest(what),
    }
    folder = (
        output / f"{labels['dataset']}-{labels['selection']}{labels['n']}-seed{labels['seed']}-{hashes['identity'][:8]}"
    )
    about = {"metric": metric or METRIC, "references": {"tfidf": "TF-IDF + SVM"}, "versions": {"layersel": versions}}
    about |= {} if lower_is_better is None else {"lower_is_better": lower_is_better}
    dump(folder / "identity.json", hashes | {"labels": labels, "options": flat} | about)
    failure = {} if error is None else {"error": error, "traceback": "Traceback …"}
    if state == "finished":
        known = {
            "awss@95": awss,
            "base/awss@95": 0.4,
            "parameters/trainable": 100,
            "seconds/total": 10.5,
            "n_test": 377,
        }
        dump(folder / "metrics.json", known | (metrics or {}))
        if curves is not None:
            dump(folder / "curves.json", curves)
        chosen = {"layers": list(layers), "scores": scores or [0.1] * 6, "measured": scores is not None}
        chosen |= {"stability": stability}
        dump(folder / "selection.json", {"score": labels["selection"], **chosen})
    seal(folder, state, **failure)
    return folder


def seal(folder: Path, state: str = "finished", **more: Any) -> None:
    """Write the status of a cell whose files are as they stand."""
    files = {} if state == "running" else {"files": {file.name: sha256(file) for file in folder.glob("*.json")}}
    write_sealed(
        folder / "status.json", {"state": state, "started": 1.0, "updated": 2.0, "attempt": 1, **files, **more}
    )


def make_grid(output: Path, name: str, jobs: Sequence[tuple[Sequence[str], dict[str, Any] | None]]) -> Path:
    """A grid's folder; each job has its overrides and what is recorded of it, None where it never began."""
    folder = output / "grids" / name
    listed = [{"num": num, "overrides": list(overrides)} for num, (overrides, _) in enumerate(jobs)]
    write_sealed(folder / "grid.json", {"name": name, "created": 1.0, "overrides": [], "jobs": listed})
    for job, (_, record) in zip(listed, jobs, strict=True):
        if record is not None:
            write_sealed(
                folder / "jobs" / f"{job['num']}.json", job | {"cell": None, "error": None, "reused": False} | record
            )
    return folder
