"""The five reviews of Howard et al. 2016, as their publisher gives them out.

Howard, Phillips, Miller, Tandon, Mav, Shah, Holmgren, Pelch, Walker, Rooney, Macleod, Shah and Thayer (2016),
"SWIFT-Review: a text-mining workbench for systematic review", Systematic Reviews 5:87, doi 10.1186/s13643-016-0263-z.
The counts are those of the paper. Additional file 1 (Office of Health Assessment and Translation of the US National
Toxicology Program) has a sheet for each of four reviews, additional file 2 (CAMARADES) one for the fifth.

`Fluoride` and `Neuropain` have titles and abstracts. `BPA`, `PFOS-PFOA` and `Transgenerational` have PubMed ids and
decisions only: their texts are read from NAME.nbib in $LAYERSEL_DATA, records in PubMed's own format, as its site saves
them (at most 10,000 at a time; parts may follow each other in the file) and its interface efetch gives them
(rettype=medline). No checksums are known: the counts are verified.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from layersel.data.delimited import Rows
from layersel.data.reviews.catalogue import Catalogue, CatalogueEntry, PublishedFile
from layersel.data.reviews.published import REMOVE, PublishedReview, local_file
from layersel.data.reviews.readers import RawRecords, read_records
from layersel.errors import UserError

PUBLISHER = "https://static-content.springer.com/esm/art%3A10.1186%2Fs13643-016-0263-z/MediaObjects"
_PMID = "PMID"
_MOST_LACKING = 0.05
"""The share of PubMed ids that may have been withdrawn; more are an export that ended too early."""


def _entry(name: str, records: int, included: int, number: int, label: str) -> CatalogueEntry:
    """Returns a row of the catalogue: the review's sheet, the additional file's number and the decisions' column."""
    file = f"13643_2016_263_MOESM{number}_ESM.xlsx"
    return CatalogueEntry(name, records, included, (PublishedFile(file, f"{PUBLISHER}/{file}"),), label)


SWIFT = Catalogue(
    folder="howard_2016",
    reference="Howard et al. 2016, doi 10.1186/s13643-016-0263-z",
    licence="CC0 1.0",
    entries=(
        _entry("BPA", 7700, 111, 1, "Status"),
        _entry("Fluoride", 4479, 51, 1, "Included"),
        _entry("Neuropain", 29207, 5011, 2, "Label"),
        _entry("PFOS-PFOA", 6331, 95, 1, "Status"),
        _entry("Transgenerational", 48638, 765, 1, "Status"),
    ),
    also={"bisphenola": "BPA", "neuropathicpain": "Neuropain", "pfoapfos": "PFOS-PFOA"},
)

_WITHOUT_TEXTS = ("BPA", "PFOS-PFOA", "Transgenerational")
_IN_SYNERGY = {"BPA": "Wassenaar_2017", "Transgenerational": "Walker_2018"}


@dataclass
class Swift(PublishedReview):
    """One of the five reviews.

    Example:
        >>> Swift(review="neuropathic pain").entry.records, Swift(review="PFOA/PFOS").name
        (29207, 'PFOS-PFOA')
    """

    catalogue: ClassVar[Catalogue] = SWIFT

    def review_problems(self, entry: CatalogueEntry) -> list[str]:
        """Returns the way to the texts of a review that is published without them, if they are not there."""
        if entry.name not in _WITHOUT_TEXTS or self._texts(entry) is not None:
            return []
        twin = _IN_SYNERGY.get(entry.name)
        other = "" if twin is None else f", or use data=synergy data.review={twin}"
        line = (
            f"data.review: {entry.name} is published as PubMed ids without titles and abstracts; save the records of "
            f"the {entry.records} ids in sheet {entry.name!r} of {entry.files[0].url} from PubMed as {entry.name}.nbib "
            f"into the folder that $LAYERSEL_DATA names{other}"
        )
        return [line]

    def parse(self, entry: CatalogueEntry, paths: Sequence[Path]) -> RawRecords:
        """Returns the records of the review's sheet, with PubMed's texts where it has none."""
        table = self._sheet(paths[0].read_bytes(), str(paths[0]), REMOVE)
        texts = self._texts(entry)
        if entry.name not in _WITHOUT_TEXTS or texts is None:
            return RawRecords("xlsx", "", table.columns, table.rows, table.notes)
        return _with_texts(table.rows, entry, texts)

    def verify_download(self, file: PublishedFile, hint: str, content: bytes) -> None:
        """Raises an error unless the content has the review's sheet with as many records as published.

        Raises:
            UserError: It has not; the message ends with `hint`.
        """
        self.verify_rows(self._sheet(content, file.url, hint).rows, file.url, hint)

    def _texts(self, entry: CatalogueEntry) -> Path | None:
        return local_file(self.catalogue.folder, f"{entry.name}.nbib")

    def _sheet(self, content: bytes, origin: str, hint: str) -> Rows:
        from layersel.data.workbook import parse_workbook

        entry = self.entry
        needed = [entry.label, *([_PMID] if entry.name in _WITHOUT_TEXTS else ["Title", "Abstract"])]
        try:
            table = parse_workbook(content, origin, set(needed).issubset, only=entry.name)
        except UserError as error:
            raise UserError(f"{error}; {hint}") from error
        if not set(needed) <= set(table.columns):
            found = ", ".join(table.columns) or "none"
            raise UserError(
                f"{origin}: expected columns {', '.join(needed)} in sheet {entry.name!r}, but found {found}; {hint}"
            )
        return table


def _with_texts(rows: Sequence[Mapping[str, str]], entry: CatalogueEntry, path: Path) -> RawRecords:
    """Returns the records of PubMed that the rows name, with the rows' decisions.

    Raises:
        UserError: The file lacks too many of them.
    """
    saved = read_records(path)
    by_pmid = {record.get("pmid", ""): record for record in saved.rows}
    lacking = sum(row[_PMID] not in by_pmid for row in rows)
    if lacking > _MOST_LACKING * len(rows):
        raise UserError(
            f"{path}: expected the records of {len(rows)} PubMed ids, but {lacking} are not in it; PubMed saves 10,000 "
            "at a time, append the other parts"
        )
    merged = [{"pmid": row[_PMID], **by_pmid.get(row[_PMID], {}), entry.label: row[entry.label]} for row in rows]
    columns = list(dict.fromkeys(["pmid", *saved.columns, entry.label]))
    note = f"texts from {path.name}; {lacking} of {len(rows)} PubMed ids are not in it and have none"
    return RawRecords("xlsx", saved.encoding, columns, merged, (*saved.notes, note))
