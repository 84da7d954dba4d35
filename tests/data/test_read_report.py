"""The report on what was read, and token lengths."""

import json
import math
import statistics

from hypothesis import given
from hypothesis import strategies as st

from layersel.data.reviews.demo import Demo
from layersel.data.reviews.report import ReadReport, token_lengths


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


@given(st.lists(st.integers(0, 5000), min_size=1), st.integers(1, 600))
def test_token_lengths(lengths: list[int], limit: int) -> None:
    """Median and maximum are the standard library's; only what exceeds the limit is cut."""
    found = token_lengths(lengths, limit)
    assert found["median"] == statistics.median(lengths)
    assert found["max"] == max(lengths)
    assert found["median"] <= found["quantile_95"] <= found["max"]
    assert found["truncated"] == len([length for length in lengths if length > limit])


def test_token_lengths_of_nothing() -> None:
    """No text has no median."""
    found = token_lengths([], 512)
    assert math.isnan(found["median"])
    assert found["truncated"] == 0
