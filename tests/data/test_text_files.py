"""The user's own texts, instructions and chats: every form of file, columns by their names, nothing lost unsaid."""

import gzip
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from layersel.data.packing import PACKED
from layersel.data.texts.examples import Example, Message, TextDataset
from layersel.data.texts.instructions import Instructions
from layersel.data.texts.rows import EXTENSIONS
from layersel.data.texts.text import Text
from layersel.errors import UserError

ROWS = [
    {"sentence": "a fine film, it is", "label": "pos"},
    {"sentence": 'dull "and" long', "label": "neg"},
    {"sentence": "two\nlines, naïve,\u2028or three", "label": "pos"},
]
EXAMPLES = tuple(Example(text=row["sentence"], label=row["label"]) for row in ROWS)
ALPACA = [
    {"instruction": "Add.", "input": "1 and 2", "output": "3", "text": "Add. 1 and 2: 3"},
    {"instruction": "Greet.", "input": "", "output": "Hello", "text": "Greet: Hello"},
]
CHAT = (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello"))

Rows = Sequence[dict[str, Any]]


def lines(rows: Rows) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def delimited(delimiter: str) -> Callable[[Rows], bytes]:
    """Returns the function that writes rows as a table."""

    def written(rows: Rows) -> bytes:
        import pandas as pd

        return pd.DataFrame(rows).to_csv(index=False, sep=delimiter).encode()

    return written


def parquet(rows: Rows) -> bytes:
    """Rows as Parquet."""
    import pandas as pd

    return pd.DataFrame(rows).to_parquet()


def workbook(rows: Rows) -> bytes:
    """Rows as a workbook."""
    import io

    import pandas as pd

    file = io.BytesIO()
    pd.DataFrame(rows).to_excel(file, index=False)
    return file.getvalue()


WRITERS: dict[str, Callable[[Rows], bytes]] = {
    "rows.jsonl": lines,
    "rows.ndjson": lines,
    "rows.json": lambda rows: json.dumps(rows, indent=1).encode(),
    "lines.json": lines,
    "data.json": lambda rows: json.dumps({"version": "1.0", "data": rows}).encode(),
    "rows.csv": delimited(","),
    "semicolons.csv": delimited(";"),
    "rows.tsv": delimited("\t"),
    "rows.parquet": parquet,
    "rows.xlsx": workbook,
}


def read(folder: Path, rows: Rows, kind: type[Instructions] = Text, **options: Any) -> TextDataset:
    """Reads rows that stand as JSON lines in a file."""
    (folder / "rows.jsonl").write_bytes(lines(rows))
    return kind(path=str(folder / "rows.jsonl"), **options).load()


@pytest.mark.parametrize("packed", ["", ".gz", ".zip"])
@pytest.mark.parametrize("name", WRITERS)
def test_every_form_has_the_same_rows(tmp_path: Path, name: str, packed: str) -> None:
    """Rows, and so the fingerprint, are the same whatever file they stand in, and wherever that is."""
    content = WRITERS[name](ROWS)
    path = tmp_path / f"{name}{packed}"
    if packed == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, content)
    else:
        path.write_bytes(gzip.compress(content) if packed else content)
    dataset = Text(path=str(path)).load()
    assert dataset.examples == EXAMPLES
    assert dataset.fingerprint() == TextDataset("other", EXAMPLES).fingerprint()
    assert dataset.name == name.partition(".")[0]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.parquet", "rows.csv"])
@pytest.mark.parametrize("keys", [("messages", "role", "content"), ("conversations", "from", "value")])
def test_conversations(tmp_path: Path, name: str, keys: tuple[str, str, str]) -> None:
    """Both forms of chat files are the same conversation; in a table they stand as JSON."""
    column, role, content = keys
    sharegpt = {"user": "human", "assistant": "gpt"} if role == "from" else {}
    turns = [{role: sharegpt.get(turn.role, turn.role), content: turn.content} for turn in CHAT]
    value = json.dumps(turns) if name.endswith(".csv") else turns
    (tmp_path / name).write_bytes(WRITERS[name]([{column: value, "id": "1"}]))
    for kind in (Text, Instructions):
        assert kind(path=str(tmp_path / name)).load().examples == (Example(messages=CHAT),)


def test_alpaca_joins_the_input(tmp_path: Path) -> None:
    """The input follows the instruction after an empty line; where there is none, nothing does."""
    (one, other) = read(tmp_path, ALPACA, Instructions).examples
    assert one == Example(prompt="Add.\n\n1 and 2", response="3")
    assert other == Example(prompt="Greet.", response="Hello")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["text", "label"], {"text": "0", "label": "1"}),
        (["Sentence", "LABEL"], {"text": "0", "label": "1"}),
        (["sentence1", "sentence2", "label"], {"text": "0", "pair": "1", "label": "2"}),
        (["premise", "hypothesis"], {"text": "0", "pair": "1"}),
        (["question", "sentence", "label"], {"text": "0", "pair": "1", "label": "2"}),
        (["question", "answer"], {"prompt": "0", "response": "1"}),
        (["prompt", "completion"], {"prompt": "0", "response": "1"}),
        (["instruction", "context", "response"], {"prompt": "0\n\n1", "response": "2"}),
        (["input", "output"], {"prompt": "0", "response": "1"}),
    ],
)
def test_usual_names_are_recognised(tmp_path: Path, columns: list[str], expected: dict[str, str]) -> None:
    """In any case, and told; other columns are told as not read."""
    row = {column: str(place) for place, column in enumerate(columns)} | {"id": "x"}
    dataset = read(tmp_path, [row])
    assert dataset.examples == (Example(**expected),)
    assert "not read: id" in dataset.notes[0]
    assert all(repr(column) in dataset.notes[0] for column in columns)


def test_named_columns_decide(tmp_path: Path) -> None:
    """A named column fixes the form, so that others with usual names do no harm."""
    assert read(tmp_path, ALPACA, text_column="TEXT").examples[1] == Example(text="Greet: Hello")
    assert read(tmp_path, ALPACA, response_column="text").examples[1] == Example(
        prompt="Greet.", response="Greet: Hello"
    )
    rows = [{"a": "1", "b": "2", "text": "3", "label": "4"}]
    rows_of_two = [{"sentence1": "1", "sentence2": "2", "a": "3"}]
    for column, value in (("sentence1", "1"), ("a", "3")):
        assert read(tmp_path, rows_of_two, text_column=column).examples == (Example(text=value),)
    assert read(tmp_path, rows, text_column="a", pair_column="b").examples == (Example(text="1", pair="2", label="4"),)


def test_named_columns_find_the_header(tmp_path: Path) -> None:
    """A value that looks like a usual name is none where the columns are named."""
    (tmp_path / "rows.csv").write_text("words,kind\ntext,label\nmore,label\n", encoding="utf-8")
    dataset = Text(path=str(tmp_path / "rows.csv"), text_column="words", label_column="kind").load()
    assert [own.text for own in dataset.examples] == ["text", "more"]


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        (
            ["text", "sentence", "label"],
            {},
            r"data\.text_column: .*'text' and 'sentence' may be it; name one of text, ",
        ),
        (["text", "label", "class"], {}, r"data\.label_column: .*'label' and 'class' may be it; name one of text, "),
        (["instruction", "question", "output"], {}, r"data\.prompt_column: .*'instruction' and 'question' may be it"),
        (["text", "prompt", "response"], {}, r"data: text, prompt, response fit texts and prompts .*data\.text_column"),
        (["id", "score"], {}, r"data: expected columns with texts, or .* but found id, score; name them by data\.text"),
        (["prompt", "id"], {}, r"data\.response_column: .* but found prompt, id; name it"),
        (["text"], {"text_column": "words"}, r"data\.text_column: expected one of text, but got 'words'"),
        (["text", "x" * 99], {"label_column": "y"}, r"data\.label_column: expected one of text, x{40}…, but got 'y'"),
    ],
)
def test_doubtful_columns_are_refused(tmp_path: Path, columns: list[str], options: dict[str, str], says: str) -> None:
    """One line names the columns and the option that decides."""
    with pytest.raises(UserError, match=says) as refused:
        read(tmp_path, [dict.fromkeys(columns, "1")], **options)
    assert "\n" not in str(refused.value)


def test_instructions_read_no_texts(tmp_path: Path) -> None:
    """A file of texts with labels is refused."""
    with pytest.raises(UserError, match=r"data: expected columns with prompts with responses, or conversations, but"):
        read(tmp_path, ROWS, Instructions)


@pytest.mark.parametrize(
    ("values", "kind", "expected", "classes"),
    [
        (["1", "0", "1"], "auto", ["1", "0", "1"], ("0", "1")),
        ([1, 0, -1], "auto", ["1", "0", "-1"], ("-1", "0", "1")),
        ([1.0, None, 0.0], "auto", ["1", None, "0"], ("0", "1")),
        (["1.0", "nan", "0"], "auto", ["1", None, "0"], ("0", "1")),
        (["10", "9", "1"], "auto", ["10", "9", "1"], ("1", "9", "10")),
        ([True, False], "auto", ["True", "False"], ()),
        (["b", "a", ""], "auto", ["b", "a", None], ()),
        ([3.5, 2, None], "auto", [3.5, 2.0, None], ()),
        (["1", "0"], "numbers", [1.0, 0.0], ()),
        (["1.5", "0.5"], "classes", ["1.5", "0.5"], ("0.5", "1.5")),
        ([str(value) for value in range(77)], "auto", [str(value) for value in range(77)], tuple(map(str, range(77)))),
        (list(range(5, 30)), "auto", [float(value) for value in range(5, 30)], ()),
        (list(range(0, 66, 3)), "auto", [float(value) for value in range(0, 66, 3)], ()),
        (["1e5", "inf"], "auto", ["1e5", "inf"], ()),
    ],
)
def test_labels(tmp_path: Path, values: list[Any], kind: str, expected: list[Any], classes: tuple[str, ...]) -> None:
    """0 and 1 are classes, 3.5 is a number, codes that are counted through are classes however many they are."""
    dataset = read(tmp_path, [{"text": str(place), "label": own} for place, own in enumerate(values)], labels=kind)
    assert [own.label for own in dataset.examples] == expected
    assert [type(own.label) for own in dataset.examples] == [type(own) for own in expected]
    assert dataset.classes == classes


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("high", r"row 2, column 'label': expected a number.* but got 'high'"),
        (["a"], r"expected one label, but got \['a'\]"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, label: Any, says: str) -> None:
    """Words among numbers that are asked for, and several labels a row, are refused with their row."""
    with pytest.raises(UserError, match=says):
        read(tmp_path, [{"text": "a", "label": "1"}, {"text": "b", "label": label}], labels="numbers")


def test_classes_of_parquet_have_names(tmp_path: Path) -> None:
    """Numbers of classes are read by the names that `datasets` writes beside them; −1 is unknown."""
    import pyarrow as pa
    from pyarrow import parquet as files

    features = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}
    table = pa.table({"text": ["a", "b", "c"], "label": [1, -1, 0]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    files.write_table(table, tmp_path / "rows.parquet")
    dataset = Text(path=str(tmp_path / "rows.parquet")).load()
    assert [own.label for own in dataset.examples] == ["pos", None, "neg"]
    assert dataset.classes == ("neg", "pos")
    assert "1 row without a label" in dataset.notes


@pytest.mark.parametrize(
    "stored", ["{", "[]", '{"info": null}', '{"info": {"features": {"label": {"_type": "ClassLabel"}}}}']
)
def test_broken_names_of_classes(tmp_path: Path, stored: str) -> None:
    """Numbers are not taken for names without a word."""
    import pyarrow as pa
    from pyarrow import parquet as files

    table = pa.table({"text": ["a"], "label": [1]}).replace_schema_metadata({"huggingface": stored})
    files.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(UserError, match=r"rows\.parquet: the names of its classes cannot be read"):
        Text(path=str(tmp_path / "rows.parquet")).load()


def test_the_docs_name_every_extension() -> None:
    """What the page says can be read is what the reader takes."""
    text = (Path(__file__).parents[2] / "docs" / "texts.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| `text` \| (.*) \|$", text, flags=re.MULTILINE)
    assert sorted(re.findall(r"`(\.\w+)`", row)) == sorted([*EXTENSIONS, *PACKED])


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    """Rows that cannot be learnt from, with the first of them; rows without a label stay."""
    (tmp_path / "rows.csv").write_text("text,label\na,x\n ,y\n,\nb,\na,x\na,y\nb,y\n\n", encoding="utf-8")
    dataset = Text(path=str(tmp_path / "rows.csv")).load()
    assert [(own.text, own.label) for own in dataset.examples] == [
        ("a", "x"),
        ("b", None),
        ("a", "x"),
        ("a", "y"),
        ("b", "y"),
    ]
    assert dataset.notes[1:] == (
        "1 empty row left out",
        "labels are classes (2): x, y",
        "1 row without a text left out (row 2)",
        "1 row without a label",
        "1 repetition of an earlier row",
        "1 text with more than one label",
    )


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"prompt": "a", "response": " "}, "without a response"),
        ({"prompt": None, "response": "b"}, "without a prompt"),
        ({"response": "b"}, "without a prompt"),
    ],
)
def test_instructions_that_are_left_out(tmp_path: Path, bad: dict[str, Any], reason: str) -> None:
    """An empty response would teach silence: it is counted, told and left out."""
    dataset = read(tmp_path, [{"prompt": "a", "response": "b"}, bad], Instructions)
    assert dataset.examples == (Example(prompt="a", response="b"),)
    assert dataset.notes[-1] == f"1 row {reason} left out (row 2)"
    with pytest.raises(UserError, match=rf"rows to learn from, but found none \(2 rows {reason} left out"):
        read(tmp_path, [bad | {"prompt": bad.get("prompt", "")}] * 2, Instructions)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "without a response"),
        ([("user", "Hi")], "without a response"),
        ([("user", "Hi"), ("assistant", "")], "without a response"),
        ([("user", ""), ("assistant", "Hello")], "with an empty message"),
        ([("user", "Hi"), ("tool", "42"), ("assistant", "Hello")], "with a message of 'tool'"),
        ([("user", [{"type": "image"}]), ("assistant", "Hello")], "with a message that is no text"),
        ([("user", "Hi"), ("assistant", None)], "with a message that is no text"),
    ],
)
def test_conversations_that_are_left_out(tmp_path: Path, turns: list[tuple[str, Any]], reason: str) -> None:
    """Each for its reason."""
    good = [{"role": turn.role, "content": turn.content} for turn in CHAT]
    bad = [{"role": role, "content": content} for role, content in turns]
    dataset = read(tmp_path, [{"messages": good}, {"messages": bad}])
    assert dataset.examples == (Example(messages=CHAT),)
    assert dataset.notes[-1] == f"1 row {reason} left out (row 2)"


def test_parts_and_empty_system_messages(tmp_path: Path) -> None:
    """Texts in parts are joined; an empty system message, as ShareGPT's files have them, is none."""
    parts = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
    turns = [{"role": "system", "content": ""}, {"role": "user", "content": parts}]
    (own,) = read(tmp_path, [{"messages": [*turns, {"role": "assistant", "content": "Hello"}]}]).examples
    assert own.messages == CHAT[1:]


@pytest.mark.parametrize("value", ["[{'role': 'user'}]", "Hi", 3, {"role": "user"}, ["Hi"], [{"role": "user"}]])
def test_what_is_no_conversation_is_refused(tmp_path: Path, value: Any) -> None:
    """With its row."""
    with pytest.raises(UserError, match=r"row 1, column 'messages': expected (a list of )?messages"):
        read(tmp_path, [{"messages": value}])


def test_whole_characters_and_bytes(tmp_path: Path) -> None:
    """An escaped character of two halves is whole; bytes are no text."""
    (tmp_path / "a.jsonl").write_text('{"text": "\\ud83d\\ude00"}')
    assert Text(path=str(tmp_path / "a.jsonl")).load().examples == (Example(text="\U0001f600"),)
    (tmp_path / "a.parquet").write_bytes(parquet([{"text": b"a"}]))
    with pytest.raises(UserError, match=r"row 1, column 'text': expected a text, but got a bytes"):
        Text(path=str(tmp_path / "a.parquet")).load()


def test_every_field_counts() -> None:
    """The fingerprint changes with each field that a file fills, and with classes and metrics."""
    example = Example("a", "b", "c", "d", "e", CHAT, "train")
    names = [own.name for own in fields(example) if own.name != "goes_on"]
    changed = [replace(example, **{name: CHAT[1:] if name == "messages" else "x"}) for name in names]
    datasets = [TextDataset("a", (own,)) for own in (example, *changed)]
    datasets += [TextDataset("a", (example,), classes=("x",)), TextDataset("a", (example,), metrics=("x",))]
    assert len({own.fingerprint() for own in datasets}) == len(datasets) == 10
    assert TextDataset("b", (example,), notes=("read",)).fingerprint() == datasets[0].fingerprint()


def test_splits_of_files(tmp_path: Path) -> None:
    """Each file is a split; rows of one that stand in another are told."""
    for name, rows in {"a": ROWS, "b": ROWS[:1], "c": [{"sentence": "new"}]}.items():
        (tmp_path / f"{name}.jsonl").write_bytes(lines(rows))
    paths = {"path": "a", "validation_path": "b", "test_path": "c"}
    source = Text(**{option: str(tmp_path / f"{name}.jsonl") for option, name in paths.items()})
    dataset = source.load()
    assert [own.split for own in dataset.examples] == ["train"] * 3 + ["validation", "test"]
    assert dataset.lines()[0] == "5 examples: 3 train, 1 validation, 1 test"
    assert "1 repetition of an earlier row, 1 of them in another split" in dataset.notes
    assert "1 row of test without a label" in dataset.notes
    assert [path.name for path in source.files()] == ["a.jsonl", "b.jsonl", "c.jsonl"]
    (tmp_path / "c.jsonl").write_bytes(lines([{"words": "new"}]))
    with pytest.raises(UserError, match=r"c\.jsonl: expected the column 'sentence', but found words"):
        source.load()


def test_splits_of_a_column(tmp_path: Path) -> None:
    """A column says it by the usual names; one of that name with other values is not read, unless it is named."""
    rows = [{"text": name, "split": name} for name in ("train", "dev", "Test")]
    assert [own.split for own in read(tmp_path, rows).examples] == ["train", "validation", "test"]
    rows = [{"text": "a", "split": "train"}, {"text": "b", "split": "fold 2"}]
    dataset = read(tmp_path, rows)
    assert [own.split for own in dataset.examples] == [None, None]
    assert dataset.notes[1] == "column 'split' is not read: 'fold 2' is no split; data.split_column names another"
    assert "split from" not in dataset.notes[0]
    with pytest.raises(UserError, match=r"row 2, column 'split': expected one of train, .*but got 'fold 2'"):
        read(tmp_path, rows, split_column="split")


def test_plain_text(tmp_path: Path) -> None:
    """A document is a block of lines; an empty line ends it."""
    (tmp_path / "rows.txt").write_text("\nOne, \r\nto its end.\n \n\n\nTwo, naïve.\n", encoding="latin-1")
    dataset = Text(path=str(tmp_path / "rows.txt")).load()
    assert [own.text for own in dataset.examples] == ["One,\nto its end.", "Two, naïve."]
    assert "not UTF-8: 1 character" in dataset.notes[1]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": \n', r"a\.jsonl, line 2: expected a JSON object, but got '\{\"text\":'"),
        ("a.jsonl", '{"text": "a"}\n\n["b"]\n', r"a\.jsonl, line 3: expected a JSON object, but got '\[\"b\"\]'"),
        ("a.jsonl", "\n", r"a\.jsonl: expected rows, but found none"),
        ("a.json", "[1, 2]", r"a\.json: expected a list of JSON objects, but got '\[1, 2\]'"),
        ("a.json", '{"a": [{"text": "b"}], "c": [{"text": "d"}]}', r"a\.json: .* got an object of a, c; write one"),
        ("a.json", '{"a"', r"a\.json: expected JSON, but it cannot be read \(Expecting ':'"),
        ("a.json", "[" * 100_000, r"a\.json: expected JSON, but it cannot be read \(maximum recursion"),
        ("a.json", "[]", r"a\.json: expected rows, but found none"),
        ("a.jsonl", '{"text": ' + "1" * 5000 + "}", r"a\.jsonl, line 1: expected a JSON object, .*Exceeds the limit"),
        ("a.csv", "text,label\n", r"a\.csv: expected rows, but found only a header \(text, label\)"),
        ("a.csv", 'text,label\n"a,b\n', r"a\.csv, near line 2: a quoted value is broken"),
        ("a.parquet", "PAR1", r"a\.parquet: cannot be read as Parquet"),
        ("a.xlsx", "PK", r"a\.xlsx: cannot be read as a workbook"),
        ("a.txt", " \n", r"a\.txt: expected rows"),
        ("a.csv.gz", "text\n", r"a\.csv\.gz: cannot be read"),
        (
            "a.jsonl",
            '{"text": "a"}\n{"text": "b \\ud83d"}',
            r"a\.jsonl, line 2: expected whole characters, .*\(\\ud83d\)",
        ),
        ("a.json", '[{"messages": "b \\uDC00"}]', r"a\.json: expected whole characters, .*\(\\udc00\)"),
        ("a.csv", "text\n" + "a" * 200_000, r"a\.csv, near line 1: .* in a form that is no table"),
        ("a.jsonl", '{"text": ["a"]}', r"a\.jsonl, row 1, column 'text': expected a text, but got a list"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, name: str, content: str, says: str) -> None:
    """In one line that names the file and where."""
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=says) as refused:
        Text(path=str(tmp_path / name)).load()
    assert "\n" not in str(refused.value)


def test_all_problems_show_without_reading(tmp_path: Path) -> None:
    """Every wrong option has its line, and loading refuses them too."""
    (tmp_path / "rows.jsonl").write_bytes(b"")
    source = Text(
        path=str(tmp_path / "none.csv"),
        validation_path=str(tmp_path / "rows.docx"),
        test_path=str(tmp_path / "rows.jsonl"),
        encoding="utf-9",
        text_column="a",
        response_column="b",
        labels="words",
        split_column="c",
    )
    expected = ("path", "validation_path", "split_column", "encoding", "text_column", "labels")
    assert [issue.partition(" ")[0].removesuffix(":") for issue in source.problems()] == [f"data.{o}" for o in expected]
    with pytest.raises(UserError, match=r"data\.path: expected a file with texts, but there is none .*data\.labels"):
        source.load()
    assert Text().problems() == ["data.path: expected a file with texts, but got none; set data.path=FILE"]
