"""Find the layers that matter for a review, adapt them, and rank its records.

    python train.py experiment=demo                          the embedded review, offline
    python train.py data=table data.path=FILE.csv            your own records
    python train.py model=minilm data=cohen data.review=NSAIDS selection=cka selection.n=3
    python train.py -m experiment=demo seed=0,1,2 selection=cka,last,random

Options are given as name=value. -m runs every combination of comma-separated values.
"""

from omegaconf import DictConfig, OmegaConf

from layersel import cli


def train(config: DictConfig) -> float:
    """Compose, check, run, report; returns AWSS@95 for sweepers that optimise it."""
    from layersel.cell import Cell, run_cell
    from layersel.config import build

    cell = build(config, Cell)
    metrics = run_cell(cell, OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    awss = metrics["awss@95"]
    return float("nan") if awss is None else float(awss)


if __name__ == "__main__":
    cli.run("train", train, options="layersel.cell.Cell", about=str(__doc__))
