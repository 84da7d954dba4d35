"""Records in, batches out: readers, the review catalogue, the few-shot split, pairs and data modules."""

from layersel.data.assemble import assemble_review
from layersel.data.catalogue import CATALOGUE, CatalogueEntry, find_review
from layersel.data.cohen import Cohen
from layersel.data.demo import Demo
from layersel.data.export import write_ranking
from layersel.data.readers import RawRecords, read_records
from layersel.data.records import Record, Review
from layersel.data.report import ReadReport, token_lengths
from layersel.data.source import Source
from layersel.data.split import Split, few_shot_split
from layersel.data.table import Table

__all__ = [
    "CATALOGUE",
    "CatalogueEntry",
    "Cohen",
    "Demo",
    "RawRecords",
    "ReadReport",
    "Record",
    "Review",
    "Source",
    "Split",
    "Table",
    "assemble_review",
    "few_shot_split",
    "find_review",
    "read_records",
    "token_lengths",
    "write_ranking",
]
