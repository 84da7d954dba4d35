"""Names and numbers: how they are compared and found, and names made unique without losing one."""

import re
from collections.abc import Sequence

DOI = re.compile(r"10\.\d{4,9}/\S*[^\s;,]")
"""A DOI within a text, without what separates it from what follows."""


def squash(name: str) -> str:
    """Returns letters and digits only, in lower case: how names are compared.

    Example:
        >>> squash("Primary_Title"), squash("pubmedID")
        ('primarytitle', 'pubmedid')
    """
    return re.sub(r"[\W_]+", "", name).lower()


def unique_names(names: Sequence[str]) -> list[str]:
    """Returns each name as it is the first time, then followed by `_2`, `_3`, … (past those that are taken).

    Example:
        >>> unique_names(["a", "b", "a", "a", "a_2"])
        ['a', 'b', 'a_3', 'a_4', 'a_2']
    """
    taken, seen, unique = set(names), dict.fromkeys(names, 0), []
    for name in names:
        seen[name] += 1
        candidate = name
        if seen[name] > 1:
            while (candidate := f"{name}_{seen[name]}") in taken:
                seen[name] += 1
            taken.add(candidate)
        unique.append(candidate)
    return unique


def complete_ids(given: Sequence[str]) -> list[str]:
    """Returns a unique id for each record: its own, or its row number, from 1, where it has none.

    The first of equal ones stays as it is, and a given id goes before a row number.

    Example:
        >>> complete_ids(["7", "", "", "3", "7"])
        ['7', '2', '3_2', '3', '7_2']
    """
    given_first = sorted(range(len(given)), key=lambda row: given[row] == "")
    names = unique_names([given[row] or str(row + 1) for row in given_first])
    return [name for _, name in sorted(zip(given_first, names, strict=True))]
