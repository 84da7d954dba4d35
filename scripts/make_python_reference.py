"""Make the embedded passages out of the Python language reference, as CPython ships it in `pydoc_data.topics`.

Usage: python3.11 scripts/make_python_reference.py [TARGET.txt]

A passage is a run of paragraphs of prose, 60 to 200 words, from one topic; of each topic the first, and of those with
most passages further ones, until there are 60. None shares a paragraph with another.
"""

import argparse
import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

TARGET = Path(__file__).parents[1] / "layersel" / "data" / "texts" / "reference_passages" / "python.txt"
PASSAGES = 60
WORDS = range(60, 201)
PARAGRAPH_WORDS = 12
"""Shorter paragraphs are rather headings and lead-ins to code."""
SYMBOLS = 0.06
"""Share of signs that prose does not have, from which on a paragraph is rather code."""

ASCII = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2026": "..."}
)


def paragraphs(topic: str) -> Iterator[str | None]:
    """Each paragraph of prose on one line; None for everything else, which interrupts a passage."""
    for block in re.split(r"\n\s*\n", topic):
        whole = re.sub(r"(?<=\w)-\n(?=\w)", "-", block)  # lines are broken after hyphens, too
        text = " ".join(whole.split()).translate(ASCII)
        text = re.sub(r"\*{1,2}([^*\s][^*]*?)\*{1,2}", r"\1", text)  # emphasis
        text = re.sub(r" ?\[\d+\]", "", text)  # footnotes
        yield text if is_prose(block, text) else None


def is_prose(block: str, text: str) -> bool:
    """Returns whether a paragraph is whole sentences, neither list nor code, table, grammar, heading or signature."""
    indented = any(line.startswith((" ", "*", "+", "|")) for line in block.splitlines())
    signs = len(re.findall(r"[^\w\s.,;:'\"()-]", text)) / max(1, len(text))
    return (
        not indented
        and text.isascii()
        and "::=" not in text
        and re.match(r"[A-Z\"]", text) is not None
        and text.endswith((".", ":"))
        and len(text.split()) >= PARAGRAPH_WORDS
        and signs < SYMBOLS
        and re.search(r"={4}|-{4}|\bChanged in version|\bNew in version|\bDeprecated", text) is None
    )


def passages(topic: str) -> Iterator[str]:
    """The passages of a topic; one that ends in a colon, and so announces what is not there, is none."""
    run: list[str] = []
    for paragraph in [*paragraphs(topic), None]:
        words = sum(len(own.split()) for own in run)
        if paragraph is not None and words < WORDS[0]:
            run.append(paragraph)
            continue
        if words in WORDS and not run[-1].endswith(":"):
            yield "\n".join(run)
        run = [] if paragraph is None else [paragraph]


def choose(topics: Mapping[str, str]) -> list[str]:
    """The first passages of all topics in the order of their names, then the second ones, and so on."""
    found = [list(passages(topics[name])) for name in sorted(topics)]
    chosen: list[str] = []
    seen: set[str] = set()
    for passage in (own for turn in zip_longest(*found) for own in turn if own is not None):
        own = set(passage.split("\n"))
        if len(chosen) < PASSAGES and not own & seen:
            chosen.append(passage)
            seen |= own
    return chosen


def make(topics: Mapping[str, str], target: Path) -> None:
    """Write the passages to `target`, an empty line between them."""
    target.write_text("\n\n".join(choose(topics)) + "\n", encoding="ascii", newline="\n")


if __name__ == "__main__":
    from pydoc_data.topics import topics as own_topics

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, nargs="?", default=TARGET)
    make(own_topics, parser.parse_args().target)
