"""Make the embedded demo review out of van_de_Schoot_2017.csv (CC BY 4.0, doi 10.17605/OSF.IO/VK4BE).

Usage: python scripts/make_demo_review.py SOURCE.csv [TARGET.csv]

All included records and a seeded draw of excluded ones, in the order of the source. The excluded ones have a
title and no known duplicate, so none of them repeats an included record.
"""

import argparse
import csv
import random
from pathlib import Path

TARGET = Path(__file__).parents[1] / "layersel" / "data" / "reviews" / "demo_review" / "ptsd.csv"
COLUMNS = (
    "record_id",
    "title",
    "abstract",
    "authors",
    "year",
    "doi",
    "label_included",
    "label_abstract_screening",
)
EXCLUDED = 257
SEED = 2017


def choose(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows of the demo review, in the order of the source."""
    included = {row["title"].casefold() for row in rows if row["label_included"] == "1"}
    candidates = [
        row
        for row in rows
        if row["label_included"] == "0"
        and row["title"]
        and row["title"].casefold() not in included
        and not row["duplicate_record_id"]
    ]
    drawn = {row["record_id"] for row in random.Random(SEED).sample(candidates, EXCLUDED)}  # noqa: S311
    return [row for row in rows if row["label_included"] == "1" or row["record_id"] in drawn]


def make(source: Path, target: Path) -> None:
    """Write the demo review made from `source` to `target`."""
    with source.open(encoding="utf-8", newline="") as file:
        rows = choose(list(csv.DictReader(file)))
    with target.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows({**row, "year": row["year"].removesuffix(".0")} for row in rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, nargs="?", default=TARGET)
    arguments = parser.parse_args()
    make(arguments.source, arguments.target)
