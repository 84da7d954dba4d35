"""The hypergeometric test of a missed recall target, on the records that were read last.

Callaghan and Müller-Hansen 2020, Statistical stopping criteria for automated screening in systematic reviews,
https://doi.org/10.1186/s13643-020-01521-4. Had the target τ been missed, there would be more than r/τ included records
where r are found. Then an urn of the last i records read and all unread ones would hold K = ⌊r/τ⌋ + 1 − (r − k)
of them or more, k of which are among the i. p is the chance that i random draws from this urn show k or fewer. The
smallest p over all i counts ("ranked quasi-sampling"), as in the authors' package buscarpy.

It holds as far as the records read last were at least as likely to be included as the unread ones, which is what a
ranking is for. Neither the choice of i nor that one looks again and again is corrected for. A ranking makes up for it;
in a random order of 1,000 records, 300 of them included, looks after every 40 from 500 on stopped below a target of
80 % in 12 % of 1,000 replays at α = 5 %.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def missed_target(labels: Sequence[int], n_records: int, recall: float, more: int = 0) -> float:
    """Returns the p-value of having missed the target: below α, one may stop.

    Only those i count that begin right behind an included record, or at the first record: with one more excluded record
    before them, p is lower.

    Args:
        labels: 1 included, 0 excluded, in the order in which the records were read.
        n_records: How many records there are, read or not.
        recall: The target τ, between 0 and 1.
        more: How many excluded records are read after these.

    Example:
        >>> round(missed_target([1, 0, 1, 0, 0, 0], n_records=8, recall=0.95), 4)
        0.4
    """
    import numpy as np

    read = np.append(np.asarray(labels, dtype=np.int64), np.zeros(more, dtype=np.int64))
    starts = np.append(0, np.flatnonzero(read) + 1)
    before = np.arange(len(starts))  # included records that were read before each start
    found = len(starts) - 1
    missing = math.floor(found / Fraction(str(recall))) + 1 - before
    return float(_at_most(found - before, n_records - starts, missing, len(read) - starts).min())


def least_to_read(labels: Sequence[int], n_records: int, recall: float, alpha: float) -> int:
    """Returns how many more records must be read at least, all of them excluded, until p < α; 0: one may stop.

    p falls with every excluded record, and is 0 when all are read.
    """
    rest = n_records - len(labels)
    return bisect_left(range(rest), True, key=lambda more: missed_target(labels, n_records, recall, more) < alpha)


def _at_most(found: "np.ndarray", urn: "np.ndarray", included: "np.ndarray", drawn: "np.ndarray") -> "np.ndarray":
    """Returns P(X ≤ found) where `drawn` records come out of an urn with that many included ones, elementwise.

    It is 0 where the urn cannot hold as many (scipy gives NaN).
    """
    import numpy as np
    from scipy.stats import hypergeom

    possible = included <= urn
    return np.where(possible, hypergeom.cdf(found, urn, np.where(possible, included, 0), drawn), 0.0)
