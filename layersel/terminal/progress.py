"""Progress bars: on everything longer than two seconds, none when the output is not a terminal."""

from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], what: str, total: int | None = None, **options: Any) -> "tqdm[T]":
    """Iterates over `items` under a bar named `what` that appears after two seconds, on a terminal only."""
    return tqdm(items, desc=what, total=total, delay=2, disable=None, leave=False, dynamic_ncols=True, **options)
