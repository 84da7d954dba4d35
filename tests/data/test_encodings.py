"""Text whose encoding is not stated: read whole, and what was guessed is told with its line."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersel.data.encoding import decode
from layersel.data.reviews.readers import read_records
from layersel.data.reviews.table import Table
from layersel.errors import UserError

WORDS = ("Müller", "naïve", "façade", "Ångström", "\u201cquoted\u201d", "5 \xb0C", "caf\xe9")


def test_one_bad_byte_spoils_no_other_character() -> None:
    """The rest of the file is UTF-8 as before, and the line says where the byte is."""
    raw = "title\nMüller Größe é\nthird ".encode() + b"na\xefve, \x81\n"
    decoded = decode(raw, "file")
    assert decoded.text == "title\nMüller Größe é\nthird naïve, \ufffd\n"
    assert decoded.encoding == "utf-8"
    expected = (
        "not UTF-8: 2 characters in 1 line read as cp1252 (line 3: 'naïve', line 3: '\ufffd'); data.encoding=NAME"
    )
    assert decoded.guesses[0].startswith(expected)


@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman"])
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))
def test_western_encodings_are_told_apart(encoding: str, words: list[str]) -> None:
    """By the characters that they give: those of western languages."""
    text = "title\nplain\n" + "\n".join(words)
    decoded = decode(text.encode(encoding), "file")
    assert (decoded.text, decoded.encoding) == (text, encoding)
    assert f"in {len(words)} line" in decoded.guesses[0]
    assert f"read as {encoding} (line 3: " in decoded.guesses[0]


@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman"])
@given(st.lists(st.sampled_from(WORDS), min_size=2, max_size=8), st.data())
def test_joined_files_keep_their_own_characters(encoding: str, words: list[str], data: st.DataObject) -> None:
    """Lines of UTF-8 are read as such among more lines of another encoding, which are told."""
    first = data.draw(st.integers(1, len(words) - 1))
    lines = ["title", *words[:first], "plain", *words[first:] * 9]
    raw = "\n".join(lines[: first + 1]).encode() + b"\n" + "\n".join(lines[first + 1 :]).encode(encoding)
    decoded = decode(raw, "file")
    assert (decoded.text, decoded.encoding) == ("\n".join(lines), "utf-8")
    assert len(decoded.guesses) == 1


def test_the_option_decides(tmp_path: Path) -> None:
    """Nothing is guessed, so nothing is told."""
    text = "title\nŁódź Škoda\n"
    (tmp_path / "a.csv").write_bytes(text.encode("cp1250"))
    assert "cp1252" in " ".join(Table(path=str(tmp_path / "a.csv")).load().lines())
    review = Table(path=str(tmp_path / "a.csv"), encoding="cp1250").load()
    assert (review.records[0].title, review.report.encoding, review.report.notes) == ("Łódź Škoda", "cp1250", ())


def test_the_option_is_told_where_it_is_of_no_use() -> None:
    """An XML file says itself how it is encoded."""
    own = read_records(Path(__file__).parent / "exports" / "endnote.xml", "cp1252")
    assert own.notes == ("states its own encoding; data.encoding=cp1252 is not used",)
    assert replace(own, notes=()) == read_records(Path(__file__).parent / "exports" / "endnote.xml")


def test_the_option_is_checked(tmp_path: Path) -> None:
    """An encoding that does not exist is told before the file is read; one that does not fit, with the line."""
    (tmp_path / "a.csv").write_bytes("title\nplain\nMüller\n".encode("cp1252"))
    (problem,) = Table(path=str(tmp_path / "a.csv"), encoding="utf-88").problems()
    assert problem.startswith("data.encoding: expected an encoding (utf-8, cp1252")
    with pytest.raises(UserError, match=r"a\.csv: expected text in utf-8, but line 3 has bytes that are none \(fc\)"):
        Table(path=str(tmp_path / "a.csv"), encoding="utf-8").load()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_byte_order_marks_inside_a_table_are_dropped(encoding: str, tmp_path: Path) -> None:
    """Files that were joined have one in the middle."""
    file = tmp_path / "joined.csv"
    file.write_bytes("\ufefftitle,included\nA,1\n\ufeffB,0\n".encode(encoding))
    assert [record.title for record in Table(path=str(file)).load().records] == ["A", "B"]


@given(st.binary(max_size=60))
def test_any_bytes_are_text_or_refused_in_one_line(raw: bytes) -> None:
    """Nothing else is raised, whatever the bytes."""
    try:
        text = decode(raw, "file").text
    except UserError as error:
        text = str(error).replace("\n", "\ud800")
    assert not any("\ud800" <= character <= "\udfff" for character in text)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=60))
def test_utf_8_is_always_itself(text: str) -> None:
    """A valid file is never guessed at."""
    decoded = decode(text.encode(), "file")
    assert (decoded.text, decoded.encoding, decoded.guesses) == (text, "utf-8", ())
