"""The user's own texts, in a file of any form that can be read."""

from dataclasses import dataclass

from layersel.data.texts.column_options import TextColumnOptions
from layersel.data.texts.instructions import Instructions
from layersel.data.texts.source import LabelledSource


@dataclass
class Text(TextColumnOptions, Instructions, LabelledSource):
    """Texts with labels, plain texts, prompts with responses, or conversations, whichever the columns are."""
