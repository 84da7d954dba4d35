"""What each of the three tiers says of a partly read review: what it promises, when to stop, and what is left."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from layersel.tasks.screening.stopping import certificate, heuristic, hypergeometric
from layersel.tasks.screening.stopping.reading import Reading


@dataclass(frozen=True)
class Tier:
    """What one tier says.

    Attributes:
        says: In words.
        stop: Whether one may stop.
        more: How many more records must be read at least until one may; None where it cannot be said.
        details: The numbers behind it, by name.
    """

    says: str
    stop: bool
    more: int | None
    details: Mapping[str, float | None]


def by_heuristic(reading: Reading, consecutive: int, least_share: float) -> Tier:
    """Returns what the heuristic of the SAFE procedure says."""
    estimated = _estimated_included(reading)
    more = heuristic.least_to_read(
        reading.ranked, reading.n_read, reading.n_records, consecutive, least_share, estimated or 0.0
    )
    needs = f"the last {consecutive} excluded, {_percent(least_share)} read"
    needs += "" if estimated is None else f", twice the estimated {estimated:.0f} included ones read"
    verdict = "may stop" if more == 0 else f"read on; {more} more at least"
    says = f"heuristic (SAFE: {needs}), which promises no recall: {verdict}"
    return Tier(says, more == 0, more, {"estimated": estimated})


def by_test(reading: Reading, recall: float, confidence: float) -> Tier:
    """Returns what the hypergeometric test says."""
    alpha = round(1 - confidence, 12)  # 0.05, not 0.05 and a rounding error
    p = hypergeometric.missed_target(reading.labels, reading.n_records, recall)
    more = hypergeometric.least_to_read(reading.labels, reading.n_records, recall, alpha)
    verdict = f"is not shown yet (p = {p:.2g}); {more} more at least, all excluded"
    if more == 0:
        verdict = f"is shown (p = {p:.2g}); may stop"
    trust = "which trusts the order of reading and corrects for no second look"
    says = f"hypergeometric test at alpha {alpha:.3g}, {trust}: recall of {_percent(recall)} {verdict}"
    return Tier(says, more == 0, more, {"p": p, "alpha": alpha})


def by_certificate(reading: Reading, recall: float, confidence: float) -> Tier:
    """Returns what the control sample certifies, or what keeps it from certifying."""
    needed = certificate.positives_needed(recall, confidence)
    says = f"certificate ({_percent(recall)} recall at {_percent(confidence)} confidence, by a control sample): "
    if reading.control is None:
        says += f"there is no sample; one with {needed} or more included records could certify (stopping=control)"
        return Tier(says, False, None, {"needed": needed})
    places = reading.control_places
    to_find = certificate.positives_to_find(len(places), recall, confidence)
    details = {"needed": needed, "size": reading.control_size, "included": len(places), "to_find": to_find}
    if reading.learnt_control:
        says += f"none, as the run has learnt from {reading.learnt_control} records of the sample; take a run without"
        return Tier(says, False, None, details)
    if reading.control_unread:
        says += f"read the {reading.control_unread} unread records of the sample first"
        return Tier(says, False, None, details)
    if to_find is None:
        says += f"not possible with {len(places)} included records in the sample of {reading.control_size}; it needs "
        says += f"{needed}{_at_this_rate(reading, needed)}"
        return Tier(says, False, None, details)
    last = places[to_find - 1]
    more = sum(reading.unread[:last])
    reached = sum(not any(reading.unread[:place]) for place in places)
    says += f"{reached} of the sample's {len(places)} included records are reached, {to_find} must be; "
    says += "certified, may stop" if more == 0 else f"read {more} more, down to place {last}"
    return Tier(says, more == 0, more, details)


def _at_this_rate(reading: Reading, needed: int) -> str:
    """Returns in how many random records that many included ones are to be expected."""
    if not reading.control_places:
        return ""
    size = math.ceil(needed * reading.control_size / len(reading.control_places))
    there_are = len(reading.unread)
    return (
        f", about {size} random records"
        if size <= there_are
        else f", more than the {there_are} records are likely to have"
    )


def _estimated_included(reading: Reading) -> float | None:
    """Returns how many included records there are, as the labels of the control sample tell; None without one."""
    labelled = reading.control_size - reading.control_unread
    if not labelled:
        return None
    return reading.learnt_included + len(reading.control_places) / labelled * len(reading.unread)


def _percent(share: float) -> str:
    return f"{100 * share:.6g} %"
