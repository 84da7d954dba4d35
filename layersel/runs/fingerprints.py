"""Hashes of options, data and texts, and the versions of what computed them: what makes two cells the same."""

import hashlib
import json
import re
import subprocess
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import layersel


def fingerprint(content: Any) -> str:
    """Returns a hash (16 hexadecimal digits) of anything that JSON can hold."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def text_fingerprint(text: str) -> str:
    """Returns a hash of a text's words, the same in any case, spacing and punctuation, to recognise it elsewhere."""
    return fingerprint(re.findall(r"\w+", text.lower()))


def flat_options(prefix: str, chosen: Any) -> dict[str, Any]:
    """Returns the options of a dataclass by dotted names, those of options within it included.

    An option within has a name too: its own, or that of its class.
    """
    options: dict[str, Any] = {}
    for field in fields(chosen):
        value, name = getattr(chosen, field.name), f"{prefix}.{field.name}"
        if is_dataclass(value):
            options[name] = getattr(value, "name", type(value).__name__)
            options |= flat_options(name, value)
        else:
            options[name] = value
    return options


@cache
def versions() -> dict[str, str]:
    """Returns the versions that decide numbers, by package, without what marks a build (`+cpu`)."""
    packages = ("layersel", "torch", "transformers", "tokenizers", "peft", "lightning", "scikit-learn")
    known = {name: layersel.__version__ if name == "layersel" else version(name) for name in packages}
    return {name: number.partition("+")[0] for name, number in known.items()}


@cache
def revision() -> str | None:
    """Returns the commit of layersel's checkout, with `-dirty` where files differ from it; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(  # noqa: S603
            command, cwd=Path(layersel.__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
