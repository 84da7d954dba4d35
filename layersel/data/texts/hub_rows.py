"""Datasets by the package `datasets`: of the Hugging Face hub, of folders that it has written, of folders of files."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from layersel.data.download import hub_answers
from layersel.data.texts.rows import TextRows, class_names
from layersel.errors import UserError

PACKAGE = "datasets"
WHOLE = ""
"""The name of what has no splits."""

_SAVED = ("dataset_dict.json", "state.json")


def package_problems() -> list[str]:
    """Returns a line if the package is not installed."""
    if find_spec(PACKAGE) is None:
        return [f"data: expected the package {PACKAGE}, but it is not installed; pip install 'layersel[hub]'"]
    return []


def is_saved(folder: Path) -> bool:
    """Returns whether `save_to_disk` of the package has written the folder."""
    return any((folder / name).is_file() for name in _SAVED)


def load_splits(
    path: str, config: str | None = None, revision: str | None = None, remedy: str = ""
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Returns split → its rows as the package has them, under an empty name if there are no splits, and notes.

    Args:
        path: A folder, or the name of a dataset on the hub.
        config: The name of one of its configurations.
        revision: Branch, tag or commit on the hub.
        remedy: What else a user may do if it cannot be read.

    Raises:
        UserError: The package is not installed, or the dataset cannot be read.
    """
    issues = package_problems()
    if issues:
        raise UserError(issues[0])
    import datasets
    import pyarrow as pa

    folder = Path(path).expanduser()
    offline = not folder.is_dir() and not hub_answers()
    try:
        with _quiet(offline):
            if is_saved(folder):
                found = datasets.load_from_disk(str(folder))
            else:
                found = datasets.load_dataset(str(folder) if folder.is_dir() else path, config, revision=revision)
    except (OSError, ValueError, RuntimeError, KeyError, datasets.exceptions.DatasetsError, pa.ArrowException) as error:
        reason = (
            "the hub does not answer, and it is not in the cache" if offline else " ".join(str(error).split())[:200]
        )
        hint = remedy or "check data.path and data.config, or read a file of it with data=text data.path=FILE"
        raise UserError(f"data.path: {path!r} cannot be read ({reason}); {hint}") from error
    notes = ("the hub does not answer: the last copy in the cache is read, whatever its revision",) if offline else ()
    return found if isinstance(found, dict) else {WHOLE: found}, notes


def rows_of(split: Any) -> TextRows:
    """Returns the rows of one split, with the names of classes."""
    return TextRows("dataset", split.column_names, split.to_list(), classes=class_names(split.features.to_dict()))


@contextmanager
def _quiet(offline: bool) -> Iterator[None]:
    """Within the block the package prints no notes, no bars where no terminal is, and asks no hub that is away."""
    import datasets
    from huggingface_hub import constants

    verbosity, bars = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    before = (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    if offline:
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
        datasets.logging.set_verbosity(verbosity)
        if not bars:
            datasets.enable_progress_bars()
