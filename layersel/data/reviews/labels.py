"""Screening decisions as people write them."""

from layersel.errors import UserError

_MEANING: dict[str, int | None] = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "include", "included", "relevant"), 1),
    **dict.fromkeys(("0", "0.0", "false", "no", "exclude", "excluded", "irrelevant"), 0),
    **dict.fromkeys(("", "-1", "-1.0", "nan"), None),
}


def parse_label(value: str, where: str) -> int | None:
    """Returns 1 for included, 0 for excluded, None for not labelled; `where` names the cell in the error.

    Raises:
        UserError: The value is none of those known.

    Example:
        >>> [parse_label(value, "row 1") for value in ("Included", "0.0", "NaN")]
        [1, 0, None]
    """
    try:
        return _MEANING[value.strip().lower()]
    except KeyError:
        raise UserError(
            f"{where}: expected 1/0, true/false, yes/no, included/excluded, relevant/irrelevant, empty or -1 "
            f"(no label), but got {value!r}; correct it or name another column with data.label_column"
        ) from None
