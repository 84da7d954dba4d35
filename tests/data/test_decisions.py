"""Screening decisions: where they stand, how they are written, and what happens where columns disagree."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersel.data.reviews.assemble import assemble_review
from layersel.data.reviews.labels import parse_label, rayyan_decision
from layersel.data.reviews.readers import RawRecords
from layersel.data.reviews.records import Review
from layersel.data.reviews.table import Table
from layersel.errors import UserError


def review(columns: dict[str, list[str]], **options: object) -> Review:
    """A review of the columns; titles are added."""
    count = len(next(iter(columns.values())))
    columns = {"title": [f"T{number}" for number in range(count)], **columns}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return assemble_review("any", RawRecords("csv", "utf-8", list(columns), rows), **options)  # type: ignore[arg-type]


def told(found: Review) -> str:
    """What is printed on a review."""
    return "\n".join(found.lines())


@pytest.mark.parametrize(
    ("value", "label"),
    [
        *((value, 1) for value in ("Y", "accept", "Extraction")),
        *((value, 0) for value in ("n", "Rejected", "not relevant", "Irrelevant")),
        *((value, None) for value in ("NA", "n/a", "<NA>", "None", "Not-seen", "undecided", "Full text review")),
        *((value, None) for value in ("maybe", "Unclear", "conflict")),
    ],
)
def test_spellings_of_tools_and_people(value: str, label: int | None) -> None:
    """Screening tools and spreadsheets have their own words."""
    assert parse_label(value, "here") == label


@pytest.mark.parametrize(("maybe", "label"), [("unlabelled", None), ("included", 1), ("excluded", 0)])
def test_the_option_says_what_maybe_is(maybe: str, label: int | None) -> None:
    """It is told how many there were, and how to decide otherwise."""
    found = review({"decision": ["yes", "maybe", "no", ""]}, maybe=maybe)
    assert found.labels == [1, label, 0, None]
    assert f"1 of the decisions are 'maybe', read as {maybe}; data.maybe=unlabelled|included|excluded" in told(found)


def test_unknown_maybe() -> None:
    """The three choices are listed."""
    with pytest.raises(UserError, match=r"data\.maybe: expected one of unlabelled, included, excluded, but got 'yes'"):
        review({"decision": ["yes"]}, maybe="yes")


@pytest.mark.parametrize("column", ["asreview_label", "Covidence status", "Decision", "Final decision", "status"])
def test_a_tools_decision_wins_over_the_label_that_came_with_the_file(column: str) -> None:
    """Forty decisions beside an `included` that knows four: all forty are read, disagreement is told."""
    decided = ["1", "0"] * 20
    known = ["1", "0", "0", "1", *[""] * 36]
    found = review({"included": known, column: decided})
    assert found.labels == [1, 0] * 20
    assert found.report.columns["label"] == column
    assert f"in 'included': it fills 0 that {column!r} leaves empty, 2 disagree and are not taken" in told(found)


@given(st.lists(st.tuples(*[st.sampled_from(["1", "0", ""])] * 2), min_size=1, max_size=20))
def test_no_decision_is_lost_between_two_columns(values: list[tuple[str, str]]) -> None:
    """A record is labelled if either column has its label; the first column's word is last."""
    ours, theirs = (list(column) for column in zip(*values, strict=True))
    found = review({"included": ours, "asreview_label": theirs})
    first, second = (theirs, ours) if any(theirs) else (ours, theirs)
    expected = [one or other for one, other in zip(first, second, strict=True)]
    assert ["" if label is None else str(label) for label in found.labels] == expected


def test_an_open_decision_is_not_filled() -> None:
    """Who says maybe has decided after whoever came before."""
    assert review({"included": ["1", "1"], "decision": ["maybe", ""]}).labels == [None, 1]


def test_the_option_reads_one_column_alone() -> None:
    """Nothing is merged into a column that is named."""
    columns = {"included": ["1", "", "0"], "asreview_label": ["0", "1", ""]}
    found = review(columns, chosen={"label": "included"})
    assert found.labels == [1, None, 0]
    assert "labels are also" not in told(found)
    assert found.records[0].fields == {"asreview_label": "0"}


def test_a_column_of_other_things_is_no_label() -> None:
    """A `status` of publication or a `label` of a topic is neither read nor an error."""
    columns = {"status": ["Published", "no"], "label": ["sleep", "1"], "included": ["1", "0"]}
    found = review(columns)
    assert (found.labels, found.report.columns["label"]) == ([1, 0], "included")
    assert found.records[0].fields == {"status": "Published", "label": "sleep"}


def test_a_column_of_decisions_that_is_not_read_is_told() -> None:
    """One odd word keeps a doubtful column from being the label, and a repeated name any column: neither in silence."""
    odd = ["include", "exclude", "include", "inlcude", ""]
    found = review({"included": ["1", "0", "", "", ""], "decision": odd})
    assert found.labels == [1, 0, None, None, None]
    line = "the decisions in 'decision' are not read: row 4 has 'inlcude', which is none; correct it"
    assert [note for note in found.report.notes if "not read" in note] == [line]
    assert line in review({"decision": odd}).report.notes
    chosen = {"label": "included"}
    assert line not in review({"included": ["1"] * 5, "decision": odd}, chosen=chosen).report.notes
    twice = review({"included": ["1", "0", ""], "included_2": ["", "0", "1"]})
    assert twice.labels == [1, 0, None]
    assert "the decisions in 'included_2' are not read, as another column has that name" in "; ".join(twice.lines())


def test_an_empty_column_is_not_the_label() -> None:
    """A tool's column in which nothing was decided yet hides no labels."""
    found = review({"asreview_label": ["", "NA"], "included": ["1", "0"]})
    assert (found.labels, found.report.columns["label"]) == ([1, 0], "included")


def test_no_label_column_names_the_columns_and_the_likely_one() -> None:
    """Whose values are all decisions."""
    found = review({"Beschluss": ["yes", "no"], "year": ["2004", "1"], "empty": ["", ""]})
    assert found.labels == [None, None]
    assert found.report.no_labels == (
        "data.label_column: expected a column of decisions, but found none by its name among title, Beschluss, year, "
        "empty; name it with data.label_column=NAME; perhaps it is 'Beschluss'"
    )
    assert review({"included": ["", ""]}).report.no_labels == (
        "data.label_column: expected decisions, but 'included' has none"
    )
    assert review({"x": ["1"]}, label_level="none").report.no_labels == ""
    assert review({"included": ["1"]}).report.no_labels == ""


VOTES = ("Included", "Excluded", "Maybe")


@pytest.mark.parametrize("votes", [*product(VOTES, repeat=1), *product(VOTES, repeat=2), ()])
def test_rayyan_votes(votes: tuple[str, ...]) -> None:
    """One decision if all reviewers agree, else a conflict; whatever stands around it."""
    inside = ", ".join(f'"Reviewer {number}"=>"{vote}"' for number, vote in enumerate(votes))
    expected = "" if not votes else votes[0] if len(set(votes)) == 1 else "conflict"
    notes = f'mine | RAYYAN-INCLUSION: {{{inside}}} | RAYYAN-LABELS: a,b | USER-NOTES: {{"X"=>["Included"]}}'
    assert rayyan_decision(notes) == expected
    assert rayyan_decision(notes.replace("{", "").replace("}", "")) == expected


@pytest.mark.parametrize("column", ["notes", "Notes", "note", "N1"])
def test_rayyan_decisions_stand_in_the_notes(column: str) -> None:
    """Conflicts of reviewers are told and unlabelled, and the notes stay as they are."""
    notes = ['RAYYAN-INCLUSION: {"A"=>"Included"}', 'RAYYAN-INCLUSION: {"A"=>"Included", "B"=>"Excluded"}', "own note"]
    found = review({column: notes, "included": ["0", "", "0"]})
    assert found.labels == [1, None, 0]
    assert found.report.columns["label"] == "rayyan_label"
    assert "1 of the decisions are conflicts between reviewers, read as unlabelled" in told(found)
    assert "it fills 1 that 'rayyan_label' leaves empty, 1 disagree" in told(found)
    assert next(iter(found.records[0].fields.values())) == notes[0]


def test_the_label_option_is_not_needed_to_rank(tmp_path: Path) -> None:
    """A library to rank is read whatever its decisions look like."""
    (tmp_path / "a.csv").write_text("title,included\nA,who knows\n", encoding="utf-8")
    assert Table(path=str(tmp_path / "a.csv"), label_level="none").load().labels == [None]


@pytest.mark.parametrize(
    "notes",
    [
        'RAYYAN-INCLUSION: {"Ada"=>"Included"}; RAYYAN-INCLUSION: {"Bo"=>"Excluded"}',
        r'RAYYAN-INCLUSION: {"Bo"=>"Excluded", "Ada \"Q\" L"=>"Included"}',
        "RAYYAN-INCLUSION: {“Ada”=>“Included”, “Bo”=>“Excluded”} | RAYYAN-LABELS: x",
        'RAYYAN-INCLUSION: {"Ada": "Included", "Bo": "Excluded"}',
    ],
)
def test_reviewers_of_rayyan_disagree_however_that_is_written(notes: str) -> None:
    """No vote counts alone: in several notes, with quotes in a name, with typographic quotes, with colons."""
    assert rayyan_decision(notes) == "conflict"


def test_open_decisions_are_told_and_kept() -> None:
    """Open decisions are no labels, and would be gone from the ranking; Covidence capitalises its conflicts."""
    found = review({"decision": ["include", "Maybe", "Duplicate", "Conflict", "", "- 1", "exclude"]})
    assert found.labels == [1, None, None, None, None, None, 0]
    assert [record.fields for record in found.records] == [
        *({}, {"decision": "Maybe"}, {"decision": "Duplicate"}, {"decision": "Conflict"}, {}, {}, {})
    ]
    assert "1 of the decisions are conflicts between reviewers" in told(found)
    assert "1 of the decisions are open ('duplicate'), read as unlabelled" in told(found)
