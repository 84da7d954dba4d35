"""Evaluate a finished run, an adapter or a base model on labelled records, or rank records nobody has labelled.

    python evaluate.py run=runs/NAME                                       its own test records again
    python evaluate.py run=runs/NAME data=table data.path=OTHER.csv        another review
    python evaluate.py run=runs/NAME records=library.ris out=ranking.csv   a ranking
    python evaluate.py model=minilm adapter_folder=FOLDER data=demo        an adapter, with a new head

Options are given as name=value.
"""

from typing import Any

from omegaconf import DictConfig

from layersel import cli


def evaluate(config: DictConfig) -> dict[str, Any]:
    """Compose, check, evaluate."""
    from layersel.config import build
    from layersel.evaluation.options import Evaluation
    from layersel.evaluation.evaluate import evaluate as run

    return run(build(config, Evaluation))


if __name__ == "__main__":
    cli.run("evaluate", evaluate, options="layersel.evaluation.options.Evaluation", about=str(__doc__))
