"""The certificate of a recall target from a random control sample: the quantile binomial confidence bound (QBCB).

Lewis, Yang and Frieder 2021, Certifying One-Phase Technology-Assisted Reviews,
https://doi.org/10.1145/3459637.3482415. Of a random sample of all records, read before and apart, r are included. With
the J-th of these in the ranking, J = min {j : BinomCDF(j − 1; r, τ) ≥ 1 − α}, a share τ of all included records is
reached with confidence 1 − α, however good the ranking is, if it was made without knowing the sample. As J is known
before the first record is read in ranked order, nothing is looked at twice. The sample may grow until it has enough
included records; one that grows for where these stand in the ranking has another confidence.
"""

import math
from fractions import Fraction


def positives_needed(recall: float, confidence: float) -> int:
    """Returns how many included records a control sample needs so that it can certify at all.

    It is the least r with 1 − τʳ ≥ 1 − α; then all of them must be found.

    Example:
        >>> [positives_needed(recall, 0.95) for recall in (0.8, 0.9, 0.95)]
        [14, 29, 59]
    """
    least = max(1, math.floor(math.log1p(-confidence) / math.log(recall)))
    return least if positives_to_find(least, recall, confidence) is not None else least + 1


def positives_to_find(positives: int, recall: float, confidence: float) -> int | None:
    """Returns J, how many of the sample's included records must be found; None if all of them were not enough.

    It is computed in integers, so that no rounding moves it.

    Example:
        >>> [positives_to_find(positives, 0.95, 0.95) for positives in (58, 59, 93)]
        [None, 59, 92]
    """
    tau, alpha = Fraction(str(recall)), 1 - Fraction(str(confidence))
    hit, miss, total = tau.numerator, tau.denominator - tau.numerator, tau.denominator**positives
    to_find, tail = positives + 1, 0  # tail: P(X ≥ to_find) · total, for X found of the positives at recall τ
    while True:
        tail += math.comb(positives, to_find - 1) * hit ** (to_find - 1) * miss ** (positives - to_find + 1)
        if tail > alpha * total:
            return to_find if to_find <= positives else None
        to_find -= 1
