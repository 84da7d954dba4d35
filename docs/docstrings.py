"""Write instruction examples out of Python's standard library: a function's code, and the first line of its docstring.

`python docs/docstrings.py docstrings.jsonl` makes the second domain of the evidence page. The code is that of the
running Python (PSF licence), so that its version belongs to the numbers.
"""

import ast
import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

SHORTEST, LONGEST = 3, 25  # lines of a function's code


def functions(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Yields the code, without docstring, and the docstring's first line of each function of one module."""
    for node in ast.walk(module):
        if not isinstance(node, ast.FunctionDef) or not (summary := ast.get_docstring(node)):
            continue
        node.body = node.body[1:]
        if node.body and SHORTEST <= len((code := ast.unparse(node)).splitlines()) <= LONGEST:
            yield code, summary.splitlines()[0].strip()


def main(path: str) -> None:
    """Writes each function once, in the order of the library's files, as prompt and response."""
    library = Path(sysconfig.get_path("stdlib"))
    seen: set[str] = set()
    with Path(path).open("w", encoding="utf-8") as file:
        for source in sorted(library.rglob("*.py")):
            if {"site-packages", "test", "tests", "idlelib", "lib2to3"} & set(source.relative_to(library).parts):
                continue
            for code, summary in functions(ast.parse(source.read_bytes())):
                if code not in seen and len(summary.split()) >= 4:
                    seen.add(code)
                    prompt = f"Say in one line what this function does.\n\n{code}"
                    file.write(json.dumps({"prompt": prompt, "response": summary}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
