"""What makes two cells the same: the task's options, the data's content and the code's version."""

import hashlib
import json
import re
from dataclasses import asdict
from typing import Any

import layersel
from layersel.data import Review


def fingerprint(content: Any) -> str:
    """A hash (16 hexadecimal digits) of anything that JSON can hold."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def review_fingerprint(review: Review) -> str:
    """A hash of the records' texts and labels, wherever they were read from."""
    return fingerprint([(record.id, record.title, record.abstract, record.label) for record in review.records])


def text_fingerprint(text: str) -> str:
    """A hash of a record's words, to recognise it in another file, whatever its case, spacing and punctuation."""
    return fingerprint(re.findall(r"\w+", text.lower()))


def cell_fingerprint(groups: dict[str, Any], more: list[Any]) -> str:
    """A hash of a cell: its groups' options, whatever else decides its numbers, and layersel's version."""
    options = {name: {"kind": type(group).__qualname__, **asdict(group)} for name, group in groups.items()}
    return fingerprint([options, more, layersel.__version__])
