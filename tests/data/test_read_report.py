"""The report on what was read."""

import json

from layersel.data.reviews.demo import Demo
from layersel.data.reviews.report import ReadReport


def test_counts_add_up_and_are_json() -> None:
    """Classes add up to the records, and the dictionary survives JSON."""
    report = Demo().load().report
    assert report.included + report.excluded + report.unlabelled == report.records
    assert json.loads(json.dumps(report.as_dict()))["columns"]["label"] == "label_included"


def test_lines_tell_all_that_is_wrong() -> None:
    """Each kind of trouble has its line, and none is there without trouble."""
    assert len(ReadReport(records=1).lines()) == 3
    report = ReadReport(
        missing_ids=1, repeated_ids=2, duplicate_groups=3, duplicate_records=4, conflicting=(("a", "b"),)
    )
    assert report.lines()[3:] == [
        "ids: 1 missing (row number used), 2 repeated (numbered)",
        "duplicates: 4 records repeat one of 3 publications, 0 dropped",
        "labelled both ways: a = b",
    ]
