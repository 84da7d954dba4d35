"""AWSS@95 of finished runs by review and selection, mean ± standard deviation over the seeds.

Make the runs first, then read them:

    python train.py -m model=minilm data=cohen data.review=NSAIDS selection=last,cka,random,all seed=0,1,2,3,4 \
        trainer=cpu logger=csv output=runs/selection
    python benchmarks/selection_table.py runs/selection
"""

import statistics
import sys
from collections import defaultdict
from pathlib import Path

from layersel.run_folder import FINISHED, RunFolder

METRIC = "awss@95"


def main() -> None:
    """Print one row for each review and method; base and tfidf are the same in every run of a seed."""
    values: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for path in sorted(Path(sys.argv[1]).iterdir()):
        folder = RunFolder(path)
        if folder.state != FINISHED:
            print(f"left out, {folder.state}: {path}", file=sys.stderr)
            continue
        config, metrics = folder.read_config(), folder.read_metrics()
        review = config["data"].get("review", "demo")
        method = config["selection"]["_target_"].split(".")[-2]
        if config["seed"] in values[review, method]:
            sys.exit(f"error: several runs of {method} on {review}, seed {config['seed']}; one setting a folder")
        values[review, method][config["seed"]] = metrics[METRIC]
        for other in ("base", "tfidf"):
            values[review, other][config["seed"]] = metrics[f"{other}/{METRIC}"]
    print(f"{'review':<24}{'method':<10}{'n':>3}{'mean':>8}{'std':>8}   {METRIC} of each seed")
    for (review, method), by_seed in sorted(values.items()):
        seeds = [by_seed[seed] for seed in sorted(by_seed)]
        deviation = statistics.stdev(seeds) if len(seeds) > 1 else float("nan")
        each = " ".join(f"{value:.3f}" for value in seeds)
        print(f"{review:<24}{method:<10}{len(seeds):>3}{statistics.mean(seeds):>8.3f}{deviation:>8.3f}   {each}")


if __name__ == "__main__":
    main()
