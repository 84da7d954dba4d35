"""A table of texts whose classes or numbers are to be predicted."""

from dataclasses import dataclass
from pathlib import Path

from layersel.data.delimited import parse_delimited
from layersel.data.encoding import decode
from layersel.data.packing import read_unpacked
from layersel.data.texts.examples import Example, TextDataset
from layersel.data.texts.source import LabelledSource
from layersel.errors import UserError

TEXT, PAIR = "text", "pair"


@dataclass
class UnlabelledTexts(LabelledSource):
    """A delimited file with the column `text` and, for pairs, `pair`; other columns are not read."""

    path: str

    @property
    def name(self) -> str:
        """The file's name."""
        return Path(self.path).stem

    def problems(self) -> list[str]:
        """Returns a line if the file is not there."""
        file = Path(self.path).expanduser()
        return [] if file.is_file() else [f"data.path: expected a file of texts, but {self.path!r} is none"]

    def files(self) -> list[Path]:
        """Returns the file."""
        return [Path(self.path).expanduser()]

    def load(self) -> TextDataset:
        """Reads the texts.

        Raises:
            UserError: The file cannot be read, or has no column `text`.
        """
        raw = read_unpacked(Path(self.path).expanduser())
        table = parse_delimited(decode(raw, self.path).text, self.path, lambda names: TEXT in names)
        if TEXT not in table.columns:
            raise UserError(
                f"records: expected a column {TEXT!r} in {self.path!r}, but got {', '.join(table.columns) or 'none'}"
            )
        examples = tuple(Example(text=row.get(TEXT), pair=row.get(PAIR)) for row in table.rows)
        return TextDataset(self.name, examples, table.notes)
