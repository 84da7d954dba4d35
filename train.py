"""Find the layers that matter for a review, adapt them, compress or merge the outcome, and rank the records.

    python train.py experiment=demo                          the embedded review, offline
    python train.py data=table data.path=FILE.csv            your own records
    python train.py model=minilm data=cohen data.review=NSAIDS selection=cka selection.n=3
    python train.py model=minilm precision=int8 pruning=wanda pruning.sparsity=0.3
    python train.py model=minilm data=cohen merging=hybrid 'merging.reviews=[NSAIDS,Estrogens]'
    python train.py -m experiment=demo seed=0,1,2 selection=cka,last,random

Options are given as name=value. -m runs every combination of comma-separated values.
"""

from omegaconf import DictConfig, OmegaConf

from layersel import cli


def train(config: DictConfig) -> float:
    """Compose, check, run, report; returns AWSS@95 for sweepers that optimise it."""
    from layersel.cell import Cell, name_a_review, run_cell
    from layersel.config import build

    config = name_a_review(config)
    cell = build(config, Cell)
    finished = run_cell(cell, OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    awss = finished.read_metrics()["awss@95"]
    return float("nan") if awss is None else float(awss)


if __name__ == "__main__":
    cli.run("train", train, options="layersel.cell.Cell", about=str(__doc__))
