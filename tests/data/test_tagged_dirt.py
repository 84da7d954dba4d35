"""Tagged files under dirt: each record is read once, or the line where one would be lost is named."""

import re
from itertools import combinations_with_replacement

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from layersel.data.reviews.dialects import DIALECTS, ENDNOTE, MEDLINE, OVID, RIS, WOS, Dialect
from layersel.data.reviews.tagged import dialect_of, parse_tagged
from layersel.errors import UserError

# how a record with a title and an abstract of several lines is written
WAYS = {
    "ris": (RIS, "TY  - JOUR\nTI  - {title}\nAB  - {abstract}\nDO  - 10.1000/{title}\nER  - \n"),
    "ris without end": (RIS, "TY  - JOUR\nTI  - {title}\nAB  - {abstract}\nDO  - 10.1000/{title}\n"),
    "ris, one space": (RIS, "TY - JOUR\nTI - {title}\nAB - {abstract}\nDO - 10.1000/{title}\nER - \n"),
    "medline": (MEDLINE, "PMID- 1\nTI  - {title}\nAB  - {indented}\nLID - 10.1000/{title} [doi]\n\n"),
    "wos": (WOS, "PT J\nTI {title}\nAB {indented}\nDI 10.1000/{title}\nER\n\n"),
    "endnote": (ENDNOTE, "%0 Journal Article\n%T {title}\n%X {abstract}\n%R 10.1000/{title}\n\n"),
    "ovid": (OVID, "<1. >\nTI  - {title}\nAB  - {abstract}\nDO  - 10.1000/{title}\n\n"),
}
NEWLINES = st.sampled_from(["\n", "\r\n", "\r"])


def record(way: str, number: int, lines: list[str]) -> str:
    """A record titled `record-NUMBER` with the lines of its abstract, which MEDLINE and Web of Science indent."""
    return WAYS[way][1].format(title=f"record-{number}", abstract="\n".join(lines), indented="\n      ".join(lines))


def titles(rows: list[dict[str, str]]) -> list[str]:
    """The titles of all rows."""
    return [row.get("title", "") for row in rows]


@pytest.mark.parametrize(
    ("lines", "abstract", "told"),
    [
        (
            "AB  - We took a\nCT  - scan of\nthe head.",
            "We took a CT  - scan of the head.",
            "{text} line 5 ('CT  - scan of')",
        ),
        ("AB  - We took\nER  - positive\nones.", "We took ER  - positive ones.", "{text} line 5 ('ER  - positive')"),
        ("N2  - A\nTY  - pe two", "A TY  - pe two", "{text} line 5 ('TY  - pe two')"),
        ("CT  - A caption\nAB  - A\nCT  - scan", "A", "{tag} line 6 ('CT  - scan')"),
        ("AB  - With\nST  - segment elevation\nfound.", "With", "{tag} line 5 ('ST  - segment elevation')"),
        ("AB  - A\nC4  - layersel rank 1", "A", ""),
        ("AB  - A\nKW  - sleep in war\nST  - Sleep\nFU  - none of it", "A", ""),
    ],
)
def test_what_may_be_a_tag_or_text_is_told(lines: str, abstract: str, told: str) -> None:
    """Within an abstract, tags that RIS does not have are text; either reading is told with its line."""
    head = "TY  - JOUR\nTI  - A\nDO  - 10.1000/a\n"
    ((row, last), doubts) = parse_tagged(f"{head}{lines}\nPY  - 2004\nER  - \n{head}ER  - \n", RIS)
    text, tag = "like a tag, but read as text:", "like text of the abstract before it, but read as a tag:"
    assert (row["abstract"], row["year"], last["title"]) == (abstract, "2004", "A")
    assert doubts == ((told.format(text=text, tag=tag),) if told else ())


@pytest.mark.parametrize("gap", [" - ", "  -", " -", "- ", "\t-\t", "\xa0 - ", "   - "])
def test_tags_that_are_spaced_in_another_way_are_read(gap: str) -> None:
    """Title, abstract and decision are not glued to the field before, and the lines are told; an abstract goes on."""
    lines = [
        "TY  - JOUR",
        f"TI{gap}Sleep",
        f"N1{gap}ASReview_relevant",
        f"AB{gap}We slept.",
        f"KW{gap}Tired",
        "ER  - " if gap[0] == "-" else f"ER{gap}",
    ]
    ((row, last), doubts) = parse_tagged("\n".join([*lines, "TY  - JOUR", "TI  - War", "ER  - "]), RIS)
    assert (row["title"], row["asreview_label"], row["abstract"]) == ("Sleep", "1", f"We slept. KW{gap}Tired")
    assert last == {"title": "War", "TY": "JOUR"}
    first, second = doubts
    assert first.startswith("a tag that is spaced in another way, but read as one: line 2 (")
    assert "line 4" in first
    assert second == f"like a tag, but read as text: line 5 ({f'KW{gap}Tired'!r})"


@pytest.mark.parametrize("text", ["T2 -weighted", "AB -initio", "AU- rich", "PY -ruvate", "AB-O groups", "TI-N ratio"])
def test_words_with_a_hyphen_are_no_tags(text: str) -> None:
    """A title that goes on in the next line is not cut by what looks a little like a tag."""
    ((row,), _) = parse_tagged(f"TY  - JOUR\nTI  - On\n{text} imaging\nER  - \n", RIS)
    assert row == {"title": f"On {text} imaging", "TY": "JOUR"}


@pytest.mark.parametrize(
    ("way", "border"), [("ris", "ER  - \nTY  - JOUR\n"), ("medline", "\nPMID- 1\n"), ("wos", "ER\n\nPT J\n")]
)
@pytest.mark.parametrize("put", ["", "x", " ", "\n"])
def test_records_never_merge_in_silence(way: str, border: str, put: str) -> None:
    """However two characters between two records are damaged: two are read, or the line is told or refused."""
    whole = "".join(record(way, number, ["Aim."]) for number in range(2))
    start = whole.index(border)
    for places in combinations_with_replacement(range(len(border)), 2):
        damaged = "".join(put if index in places else character for index, character in enumerate(border))
        text = whole[:start] + damaged + whole[start + len(border) :]
        try:
            rows, doubts = parse_tagged(text, WAYS[way][0])
        except UserError as error:
            rows, doubts = [], (str(error),)
        second = text[: text.index("record-1")].count("\n") + 1
        merged = rf"second title or abstract in one record, which may be two records: line ({second}|{second + 1}) "
        if len(rows) != 2:
            assert re.search(rf"{merged}|line \d+: expected", " ".join(doubts)), damaged
        assert not rows or all(f"record-{number}" in str(rows) for number in range(2))


def test_text_in_files_with_one_space() -> None:
    """There only tags of the standard count, the most of them once, and nothing follows the end."""
    lines = ["We did a", "CT - scan of", "ER - positive tumours,", "T2 - weighted,", "T2 - again", "OR - 1.5"]
    text = "TY - JOUR\nT2 - A journal\nTI - A\nAB - " + "\n".join(lines) + "\nDO - 10.1000/a\nER - \n"
    ((row,), _) = parse_tagged(text, RIS)
    assert (row["abstract"], row["journal"], row["doi"]) == (" ".join(lines), "A journal", "10.1000/a")


PARTS = st.tuples(st.booleans(), st.integers(1, 3), NEWLINES, st.sampled_from(["", "\n", "\n\n\n", "\x1a"]))


@given(st.sampled_from(["ris", "ris, one space"]), st.lists(PARTS, min_size=1, max_size=4))
def test_joined_files_lose_nothing(way: str, parts: list[tuple[bool, int, str, str]]) -> None:
    """`cat a b` has the records of a and of b, with byte order marks, any line ends, and none after the last end."""
    text, number = "", 0
    for mark, records, newline, tail in parts:
        body = "".join(record(way, number + index, ["Aim."]) for index in range(records))
        text += "\ufeff" * mark + body.rstrip("\n").replace("\n", newline) + tail.replace("\n", newline)
        number += records
    assert dialect_of(text) is RIS
    assert titles(parse_tagged(text, RIS)[0]) == [f"record-{index}" for index in range(number)]


@given(st.sampled_from(sorted(WAYS)), st.integers(2, 4), st.data())
def test_a_byte_order_mark_anywhere_changes_nothing(way: str, records: int, data: st.DataObject) -> None:
    """It is no part of any tag or text."""
    text = "".join(record(way, number, ["Aim."]) for number in range(records))
    place = data.draw(st.integers(0, len(text)))
    dialect = WAYS[way][0]
    assert parse_tagged(text[:place] + "\ufeff" + text[place:], dialect) == parse_tagged(text, dialect)


@given(
    st.sampled_from(["ris", "ris, one space", "wos"]),
    st.integers(2, 4),
    st.sampled_from(["", " ", "\n", "\t", "x", "\u2013", "-", "\xa0", "\ufeff", "\x1a", "ER  - "]),
    st.data(),
)
def test_one_damaged_character(way: str, records: int, put: str, data: st.DataObject) -> None:
    """With a character replaced or one put in, each record is read once, or the line of the damage is named."""
    text = "".join(record(way, number, ["Aim."]) for number in range(records))
    place = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:place] + put + text[place + data.draw(st.integers(0, 1)) :]
    names = [f"record-{number}\n" for number in range(records)]
    assume(all(name in damaged for name in names))
    try:
        rows, _ = parse_tagged(damaged, WAYS[way][0])
    except UserError as error:
        line = int(re.findall(r"line (\d+)", str(error))[0])
        assert abs(line - 1 - text.count("\n", 0, place)) <= 3
    else:
        assert len(rows) == records
        found = [[name for name in names if name[:-1] in " ".join(row.values())] for row in rows]
        assert found == [[name] for name in names]


PIECES = st.sampled_from(
    [
        *(
            "TY  - JOUR",
            "TY - BOOK",
            "ER  - ",
            "PMID- 1",
            "PT J",
            "ER",
            "%0 Book",
            "<1. >",
            "TI  - A",
            "TI A",
            "%T A",
            "AB  - ",
        ),
        *(
            "\ufeff",
            "\n",
            "\r",
            "\r\n",
            " ",
            "      ",
            "-",
            "\x00",
            "\x1a",
            "\u2028",
            "KW  - a;b",
            "N1  - ASReview_relevant",
        ),
    ]
)


@given(st.lists(PIECES | st.text(max_size=8), max_size=30).map("".join), st.sampled_from(DIALECTS))
def test_anything_is_read_or_refused(text: str, dialect: Dialect) -> None:
    """No text ends in another error than one line for the user."""
    try:
        rows, _ = parse_tagged(text, dialect, "a.ris")
    except UserError as error:
        message, rows = str(error), []
    else:
        message = "a.ris, line 1: expected"
    assert re.match(r"a\.ris, line \d+: expected", message)
    assert not set("\r\n") & set(message)
    assert all(value.strip() for row in rows for value in row.values() if value)


def test_lines_between_records_are_told() -> None:
    """Counters and the frame of Web of Science's files are none; records of another format are refused."""
    text = "1.\nTY  - JOUR\nTI  - A\nER  - \n\nid,title\n2,B\nTY  - JOUR\nTI  - C\nER  - \n"
    rows, doubts = parse_tagged(text, RIS)
    assert titles(rows) == ["A", "C"]
    assert doubts == ("outside of records, not read: line 6 ('id,title'), line 7 ('2,B')",)
    wos = "FN Clarivate\nVR 1.0\nPT J\nTI A\nER\n\nEF\n"
    assert parse_tagged(wos, WOS)[1] == ()
    for other in ("@article{k, title={x}}", "<xml><records>"):
        with pytest.raises(UserError, match=r"line 4: expected nothing but records that begin with 'TY  - '"):
            parse_tagged(f"TY  - JOUR\nTI  - A\nER  - \n{other}\n", RIS)


@pytest.mark.parametrize("line", [" AB  - x", "\xa0AB  - x", "AB \u2013 x", "ER \u2013 ", "AU: B, C"])
def test_what_may_be_a_tag_is_told(line: str) -> None:
    """The line is read as a part of the title, and a note says so."""
    doubts = parse_tagged(f"TY  - JOUR\nTI  - A\n{line}\nER  - \n", RIS)[1]
    assert [doubt.split(":")[0] for doubt in doubts] == ["like a tag, but read as text"]
