"""Small reviews made of the embedded one's records."""

import csv
from pathlib import Path

from layersel.data.reviews.demo import Demo


def write_reviews(folder: Path, count: int, size: int = 12) -> list[str]:
    """CSV files of `size` included and `size` excluded records each, no record in two of them."""
    records = Demo().load().records
    classes = [[record for record in records if record.label == label] for label in (1, 0)]
    files = []
    for number in range(count):
        path = folder / f"review{number}.csv"
        rows = [record for own in classes for record in own[number * size :][:size]]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["title", "abstract", "included"])
            writer.writerows([record.title, record.abstract, record.label] for record in rows)
        files.append(str(path))
    return files
