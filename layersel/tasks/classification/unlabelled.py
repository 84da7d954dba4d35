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
        """Reads the texts, and says which columns were read.

        Raises:
            UserError: The file cannot be read, has no column `text` or no row, or a row lacks a text.
        """
        raw = read_unpacked(Path(self.path).expanduser())
        table = parse_delimited(decode(raw, self.path).text, self.path, lambda names: TEXT in names)
        if TEXT not in table.columns:
            named = ", ".join(table.columns) or "none"
            raise UserError(
                f"records: expected a table with a column {TEXT!r} in {self.path!r}, but got {named}; rename that of "
                "the texts"
            )
        if not table.rows:
            raise UserError(f"records: expected texts in {self.path!r}, but found only a header; export it again")
        read = [name for name in (TEXT, PAIR) if name in table.columns]
        for name in read:
            empty = [row for row, own in enumerate(table.rows, start=1) if not (own.get(name) or "").strip()]
            if empty:
                raise UserError(
                    f"records: expected a {name} in every row, but row {empty[0]} of {self.path!r} has none; leave it "
                    "out"
                )
        examples = tuple(Example(text=row[TEXT], pair=row.get(PAIR)) for row in table.rows)
        unread = [name for name in table.columns if name not in read]
        what = f"read: {', '.join(read)}" + (f"; not read: {', '.join(unread)}" if unread else "")
        return TextDataset(self.name, examples, (what, *table.notes))
