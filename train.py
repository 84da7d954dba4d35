"""Train one cell, or with -m a grid: python train.py --help."""

from omegaconf import DictConfig, OmegaConf

from layersel import cli


def train(config: DictConfig) -> float:
    """Compose, check, run, report; returns AWSS@95, which a sweeper can optimise."""
    from layersel.cell import Cell, run_cell
    from layersel.config import build

    cell = build(config, Cell)
    metrics = run_cell(cell, OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    awss = metrics["awss@95"]
    return float("nan") if awss is None else float(awss)


if __name__ == "__main__":
    cli.run("train", train)
