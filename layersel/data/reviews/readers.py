"""A file of records in any of the formats that databases and screening tools export."""

from dataclasses import dataclass
from pathlib import Path

from layersel.data.delimited import parse_delimited
from layersel.data.encoding import read_text
from layersel.data.reviews.tagged import dialect_of, parse_tagged
from layersel.errors import UserError, one_of

EXTENSIONS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".ris", ".nbib", ".txt")


@dataclass(frozen=True, slots=True)
class RawRecords:
    """A file's records as they are written there.

    Attributes:
        format: `csv` (any delimiter), `ris` or `medline`.
        encoding: The file's encoding.
        columns: Names of all columns, in order.
        rows: Column → value of each record, in order; a tagged record lacks the columns it has no tag for.
    """

    format: str
    encoding: str
    columns: list[str]
    rows: list[dict[str, str]]


def read_records(path: Path) -> RawRecords:
    """Reads a CSV, TSV, RIS, NBIB or PubMed text file, recognised by its extension and its content.

    Raises:
        UserError: The file cannot be read, is damaged or has no records.
    """
    extension = extension_of(path)
    text, encoding = read_text(path)
    if not text.strip():
        raise UserError(f"{path}: expected records, but the file is empty; export it again")
    dialect = None if extension.startswith((".csv", ".tsv")) else dialect_of(text)
    if dialect is not None:
        rows = parse_tagged(text, dialect)
        columns = list(dict.fromkeys(column for row in rows for column in row))
        return RawRecords(dialect.name, encoding, columns, rows)
    if extension in (".ris", ".nbib"):
        raise UserError(
            f"{path}: expected records that begin with 'TY  - ' or 'PMID- ', but found none; export it again"
        )
    columns, rows = parse_delimited(text, str(path))
    if not rows:
        raise UserError(f"{path}: expected records, but found only a header ({', '.join(columns)}); export it again")
    return RawRecords("csv", encoding, columns, rows)


def extension_of(path: Path) -> str:
    """Returns the extension in lower case, with `.gz` where it follows.

    Raises:
        UserError: It is none that can be read.

    Example:
        >>> extension_of(Path("records.v2.CSV.gz"))
        '.csv.gz'
    """
    name = path.name.lower()
    for extension in sorted(EXTENSIONS, key=len, reverse=True):
        if name.endswith(extension):
            return extension
    raise one_of("path", path.name, EXTENSIONS, hint="export the records in one of these formats")
