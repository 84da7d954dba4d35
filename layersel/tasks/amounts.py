"""Options that say how much of something is meant: a count, or a share of it below 1."""


def amount(value: float, total: int) -> int:
    """Returns the number out of `total` that a count or a share below 1 stands for.

    Example:
        >>> amount(0.8, 100), amount(16, 100)
        (80, 16)
    """
    return round(value * total) if value < 1 else int(value)


def is_amount(value: float) -> bool:
    """Returns whether a value is a count (0, 1, 2, …) or a share from 0 to below 1."""
    return 0 <= value < float("inf") and (value < 1 or value == int(value))
