"""Every record of a file is read once, with its own label; of a damaged file that, or one line says where it broke."""

import os
import re
import tempfile
from pathlib import Path

import pytest
from exports import BOM, ENCODINGS, JOINABLE, LINE_ENDS, UNLABELLED, WRITERS, Made, records
from hypothesis import given, settings
from hypothesis import strategies as st

from layersel.data.reviews.records import Record
from layersel.data.reviews.table import Table
from layersel.errors import UserError

inputs = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "25")), deadline=None)


def read(name: str, content: bytes) -> tuple[Record, ...]:
    """The records of a file of that name and content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return Table(path=str(path)).load().records


def read_or_refused(name: str, content: bytes) -> tuple[Record, ...]:
    """The records, none if the file is refused, which takes one line."""
    try:
        return read(name, content)
    except UserError as error:
        message = str(error).strip()
    assert "\n" not in message
    return ()


def squeezed(text: str) -> str:
    """The text with every white space as one blank."""
    return " ".join(text.split())


def assert_all_there(found: tuple[Record, ...], made: list[Made]) -> None:
    """Each record once, in its order, with its own text and label."""
    assert [squeezed(record.title) for record in found] == [squeezed(one.title) for one in made]
    assert [squeezed(record.abstract) for record in found] == [squeezed(one.abstract) for one in made]
    assert [record.label for record in found] == [one.label for one in made]


@pytest.mark.parametrize("name", WRITERS)
@inputs
@given(data=st.data())
def test_every_record_is_read_once(name: str, data: st.DataObject) -> None:
    """Whatever its texts look like, its encoding and its line ends."""
    made = data.draw(records(name not in UNLABELLED))
    text = WRITERS[name](made)
    encoding = data.draw(st.sampled_from([own for own in ENCODINGS if _fits(text, own)]))
    assert_all_there(read(name, text.replace("\n", data.draw(st.sampled_from(LINE_ENDS))).encode(encoding)), made)


@pytest.mark.parametrize("name", JOINABLE)
@inputs
@given(data=st.data())
def test_files_are_joined(name: str, data: st.DataObject) -> None:
    """As `cat a b` joins them, each with its own mark and line ends, the last line of `a` ended or not."""
    parts = [data.draw(records(name not in UNLABELLED)) for _ in range(2)]
    first, second = (WRITERS[name](part) for part in parts)
    marks = [data.draw(st.sampled_from(["", BOM])) for _ in range(2)]
    ends = [data.draw(st.sampled_from(LINE_ENDS[:2])) for _ in range(2)]
    tail = data.draw(st.sampled_from(["", "\n", "\n\n"]))
    texts = [
        marks[0] + (first.rstrip("\n") + "\n" + tail).replace("\n", ends[0]),
        marks[1] + second.replace("\n", ends[1]),
    ]
    assert_all_there(read(name, "".join(texts).encode()), [one for part in parts for one in part])


@pytest.mark.parametrize("name", WRITERS)
@inputs
@given(data=st.data())
def test_no_label_changes_in_a_damaged_file(name: str, data: st.DataObject) -> None:
    """Bytes of one record are cut out or changed: one line, or records of which the whole ones have their label."""
    made = data.draw(records(name not in UNLABELLED))
    content = bytearray(WRITERS[name](made).encode())
    place = data.draw(st.integers(0, len(made) - 1))
    first, last = (len(WRITERS[name](made[:number]).encode()) for number in (place, place + 1))
    start = data.draw(st.integers(first, last - 1))
    content[start : data.draw(st.integers(start, last))] = data.draw(st.binary(max_size=8))
    found = read_or_refused(name, bytes(content))
    whole = {(squeezed(one.title), squeezed(one.abstract)): one.label for one in made}
    for record in found:
        label = whole.get((squeezed(record.title), squeezed(record.abstract)), record.label)
        assert record.label in (label, None)


@inputs
@given(content=st.binary(max_size=400), name=st.sampled_from(sorted(WRITERS)))
def test_any_bytes_are_answered_in_a_line(content: bytes, name: str) -> None:
    """No traceback."""
    read_or_refused(name, content)


def _fits(text: str, encoding: str) -> bool:
    """Returns whether bytes tell the encoding: two of cp1252's in a row may be a character of UTF-8 or Big5."""
    if encoding == "cp1252" and re.search("[^\x00-\x7f]{2}", text):
        return False
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
