"""Reads what an offline run of Weights & Biases has written, from its own file."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class OfflineRun:
    """An offline run by its `.wandb` file, which is all that `wandb sync` reads beside the media files."""

    folder: Path
    records: list[Any]

    @classmethod
    def of(cls, cell: Path) -> "OfflineRun":
        """Returns the one run in the folder of a cell, which W&B may still be writing when `finish` has returned."""
        (file,) = cell.glob("wandb/offline-run-*/*.wandb")
        for _ in range(300):
            run = cls(file.parent, _records(file))
            if run.of_kind("exit"):
                return run
            time.sleep(0.1)
        raise TimeoutError(f"{file} has no end")

    def of_kind(self, kind: str) -> list[Any]:
        """Returns the records of one kind, in their order."""
        return [getattr(record, kind) for record in self.records if record.WhichOneof("record_type") == kind]

    @property
    def run(self) -> Any:
        """The record with the run's id, name, group, job type and tags."""
        return self.of_kind("run")[0]

    @property
    def exit_code(self) -> int:
        """The exit code of the run."""
        (end,) = self.of_kind("exit")
        return int(end.exit_code)

    @property
    def config(self) -> dict[str, Any]:
        """The config as it was given to init, without what W&B adds."""
        items = {item.key: json.loads(item.value_json) for item in self.run.config.update}
        return {name: value for name, value in items.items() if name != "_wandb"}

    @property
    def history(self) -> list[dict[str, Any]]:
        """One dict for each call of log, without W&B's own columns."""
        return [_values(row) for row in self.of_kind("history")]

    @property
    def summary(self) -> dict[str, Any]:
        """The final values."""
        values: dict[str, Any] = {}
        for record in self.of_kind("summary"):
            values |= {_name(item): json.loads(item.value_json) for item in record.update}
        return values


def _records(file: Path) -> list[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    return [Record.FromString(content) for content in _contents(file.read_bytes())]


def _values(row: Any) -> dict[str, Any]:
    values = {_name(item): json.loads(item.value_json) for item in row.item}
    return {name: value for name, value in values.items() if not name.startswith("_")}


def _name(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def _contents(data: bytes, block: int = 1 << 15, header: int = 7) -> Iterator[bytes]:
    """Yields the contents of a file in LevelDB's log format, behind a file header that is as long as a record's."""
    place, content = header, b""
    while place < len(data):
        room = block - place % block
        if room < header:
            place += room
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        if place + header + size > len(data):
            return  # not yet written to its end
        content += data[place + header : place + header + size]
        place += header + size
        if kind in (1, 4):  # a whole record, or the last part of one
            yield content
            content = b""
