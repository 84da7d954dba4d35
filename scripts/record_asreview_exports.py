"""Records what ASReview exports of a ranking after screening, for the tests: its own web application does the work.

    python -m venv VENV && VENV/bin/pip install asreview==3.0.8
    VENV/bin/python scripts/record_asreview_exports.py RANKING.csv DECISIONS.json FOLDER

ASReview needs pandas < 3, layersel's constraints have 3: so it has an environment of its own and is not in the dev
extra. DECISIONS.json has the decision (1 or 0) for each `record_id` of the ranking.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import pandas as pd


def record(ranking: Path, decisions: dict[str, int], folder: Path) -> None:
    """Screens all records that ASReview has not taken a label from, and writes its exports into `folder`."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["ASREVIEW_PATH"] = home
        from asreview.webapp.app import create_app

        config = Path(home) / "config.toml"
        config.write_text("TESTING = true\nAUTHENTICATION = false\n", encoding="utf-8")
        client = create_app(config_path=str(config)).test_client()
        with ranking.open("rb") as file:
            created = client.post("/api/projects/create", data={"mode": "oracle", "file": (file, ranking.name)})
        project = f"/api/projects/{created.json['id']}"
        names = pd.read_csv(ranking, dtype=str)["record_id"]
        for number, name in enumerate(names):
            data = {"record_id": number, "label": decisions[name], "is_prior": 0, "note": ""}
            client.post(f"{project}/record/{number}", data=data)
        for extension in ("csv", "tsv", "xlsx", "ris"):
            query = {"format": extension, "collections": ["relevant", "irrelevant", "not_seen"]}
            answer = client.get(f"{project}/export_dataset", query_string=query)
            (folder / f"export.{extension}").write_bytes(answer.data)
            print(extension, answer.status_code, len(answer.data))


if __name__ == "__main__":
    record(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")), Path(sys.argv[3]))
