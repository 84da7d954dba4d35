"""Predictions as a table, one row for each text."""

import csv
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from layersel.data.texts.examples import Example
from layersel.errors import UserError
from layersel.files import atomic_path
from layersel.tasks.classification.head import LinearHead


def write_predictions(
    path: Path, examples: Sequence[Example], rows: Sequence[int], outputs_NK: Tensor, head: LinearHead, labelled: bool
) -> None:
    """Writes a CSV file: the number of the row in the data, from 1, its texts, and what is predicted.

    That is a number, or a class and the probability of each class.

    Args:
        path: The file.
        examples: All examples of a dataset.
        rows: Indices of those that are written.
        outputs_NK: The outputs of the head for all examples.
        head: Names the classes.
        labelled: Whether the file has a column for the true label.

    Raises:
        UserError: The file cannot be written.
    """
    pairs = any(examples[index].pair is not None for index in rows)
    predicted, probabilities = head.predicted(outputs_NK).tolist(), outputs_NK.softmax(dim=1).tolist()
    names = ["row", "text", *(["pair"] if pairs else []), *(["label"] if labelled else []), "predicted"]
    try:
        with atomic_path(path) as draft, draft.open("w", encoding="utf-8-sig", newline="") as file:
            table = csv.writer(file)
            table.writerow([*names, *(f"probability of {name}" for name in head.classes)])
            for index in rows:
                own = examples[index]
                given = [own.text, *([own.pair] if pairs else []), *([own.label] if labelled else [])]
                answer = head.classes[predicted[index]] if head.classes else predicted[index]
                shares = [f"{share:.6g}" for share in probabilities[index]] if head.classes else []
                table.writerow([index + 1, *given, answer, *shares])
    except OSError as error:
        raise UserError(f"out: cannot write {path} ({error}); choose another folder") from error
