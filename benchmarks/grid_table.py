"""AWSS@95 of finished runs by review and whatever groups a grid went over, mean ± standard deviation over the seeds.

Make the runs first, then name the groups whose choices tell the rows apart:

    python train.py -m model=minilm data=cohen data.review=NSAIDS selection=last,cka,random,all seed=0,1,2,3,4 \
        trainer=cpu logger=csv output=runs/selection
    python benchmarks/grid_table.py runs/selection selection

    python train.py -m model=minilm data=cohen data.review=NSAIDS pruning=none,wanda,magnitude seed=0,1,2,3,4 \
        trainer=cpu logger=csv keep_model=false output=runs/pruning
    python benchmarks/grid_table.py runs/pruning pruning

A merging cell has a row for each of its reviews:

    python train.py -m model=minilm data=cohen merging=hybrid seed=0,1 trainer=cpu logger=csv output=runs/merging \
        'merging.reviews=[NSAIDS,Antihistamines,Estrogens,OralHypoglycemics]'
    python benchmarks/grid_table.py runs/merging merging
"""

import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from layersel.config import build_group
from layersel.run_folder import FINISHED, RunFolder

METRIC = "awss@95"

Values = dict[tuple[str, str], dict[int, float]]


def main() -> None:
    """Print one row for each review and method; base and tfidf are the same in every run of a seed."""
    if len(sys.argv) < 3:
        sys.exit(f"usage: python {sys.argv[0]} FOLDER GROUP [GROUP …]")
    values: Values = defaultdict(dict)
    for path in sorted(Path(sys.argv[1]).iterdir()):
        if not path.is_dir():
            continue
        folder = RunFolder(path)
        if folder.state != FINISHED:
            print(f"left out, {folder.state}: {path}", file=sys.stderr)
            continue
        config = folder.read_config()
        method = " ".join(_choice(group, config) for group in sys.argv[2:])
        rows = _merged(folder, method) if folder.merging.is_file() else _trained(folder, config, method)
        for row, value in rows.items():
            if value is None:  # no included record to find
                continue
            if values[row].setdefault(config["seed"], value) != value:
                sys.exit(
                    f"error: several runs of {' on '.join(reversed(row))}, seed {config['seed']}; name more groups"
                )
    _print(values)


def _choice(group: str, config: dict[str, Any]) -> str:
    """What tells the choices of a group apart."""
    made = build_group(group, config[group])
    return f"{made.train}/{made.infer}" if group == "precision" else str(made.name)


def _trained(folder: RunFolder, config: dict[str, Any], method: str) -> dict[tuple[str, str], float | None]:
    metrics, review = folder.read_metrics(), build_group("data", config["data"]).name
    others = {(review, other): metrics[f"{other}/{METRIC}"] for other in ("base", "tfidf")}
    return {(review, method): metrics[METRIC], **others}


def _merged(folder: RunFolder, method: str) -> dict[tuple[str, str], float | None]:
    metrics = folder.read_metrics()
    reviews = [name.removesuffix(f"/{METRIC}") for name in metrics if name.endswith(f"/{METRIC}")]
    names = [name for name in reviews if name not in {"own", "base"} and not name.endswith(("/own", "/base"))]
    rows = {(name, method): metrics[f"{name}/{METRIC}"] for name in names}
    rows |= {(name, kind): metrics[f"{name}/{kind}/{METRIC}"] for name in names for kind in ("own", "base")}
    means = {("mean", kind or method): metrics[f"{kind}/{METRIC}" if kind else METRIC] for kind in ("", "own", "base")}
    return rows | means


def _print(values: Values) -> None:
    print(f"{'review':<24}{'method':<24}{'n':>3}{'mean':>8}{'std':>8}   {METRIC} of each seed")
    for (review, method), by_seed in sorted(values.items()):
        seeds = [by_seed[seed] for seed in sorted(by_seed)]
        deviation = statistics.stdev(seeds) if len(seeds) > 1 else float("nan")
        each = " ".join(f"{value:.3f}" for value in seeds)
        print(f"{review:<24}{method:<24}{len(seeds):>3}{statistics.mean(seeds):>8.3f}{deviation:>8.3f}   {each}")


if __name__ == "__main__":
    main()
