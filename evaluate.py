"""Evaluate a run, an adapter or a base model, or rank unlabelled records: python evaluate.py --help."""

from typing import Any

from omegaconf import DictConfig

from layersel import cli


def evaluate(config: DictConfig) -> dict[str, Any]:
    """Compose, check, evaluate."""
    from layersel.config import build
    from layersel.evaluation import Evaluation
    from layersel.evaluation import evaluate as run

    return run(build(config, Evaluation))


if __name__ == "__main__":
    cli.run("evaluate", evaluate)
