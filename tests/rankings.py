"""What rankings say that the scripts have written."""

import csv
from pathlib import Path


def scores_of(ranking: Path) -> dict[str, float]:
    """The scores by the records' titles."""
    with ranking.open(encoding="utf-8-sig", newline="") as file:
        return {row["title"]: float(row["score"]) for row in csv.DictReader(file)}
