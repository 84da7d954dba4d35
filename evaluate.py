"""Evaluate a finished run, an adapter or a base model on labelled data, or predict for data nobody has labelled.

    python evaluate.py run=runs/NAME                                       its own test data again
    python evaluate.py run=runs/NAME data=table data.path=OTHER.csv        another dataset
    python evaluate.py run=runs/NAME records=library.ris out=ranking.csv   a ranking
    python evaluate.py run=runs/NAME records=library.csv out=next.csv stopping=advice   may we stop reading?
    python evaluate.py model=minilm adapter_folder=FOLDER data=demo        an adapter, with a new head
    python evaluate.py model=minilm data=demo simulation=replay out=FOLDER labelling in ranked order, replayed

Options are given as name=value.
"""

from typing import Any

from omegaconf import DictConfig

from layersel import cli


def evaluate(config: DictConfig) -> dict[str, Any]:
    """Checks the options and evaluates."""
    from layersel.evaluation.options import read_options

    options = read_options(config)
    from layersel.evaluation.evaluate import evaluate as run  # loads PyTorch

    return run(options)


if __name__ == "__main__":
    cli.run("evaluate", evaluate, options="layersel.evaluation.options.Evaluation", about=str(__doc__))
