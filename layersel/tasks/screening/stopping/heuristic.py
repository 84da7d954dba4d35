"""The stopping heuristic of the SAFE procedure: easy to follow, and no promise about recall.

Boetje and van de Schoot 2024, The SAFE procedure, https://doi.org/10.1186/s13643-024-02502-7. Of its phases this is
the second, in which records are read in ranked order. One may stop there once all key papers are found, no record among
the last 50 was included, a tenth of all records is read, and twice as many records are read as are estimated to be
included, by a random sample. The authors call these numbers arbitrary. What a run has learnt from is its key papers:
they are read before all others.
"""

import math
from collections.abc import Sequence
from fractions import Fraction


def least_to_read(
    ranked: Sequence[int],
    n_read: int,
    n_records: int,
    consecutive: int = 50,
    least_share: float = 0.1,
    estimated: float = 0.0,
) -> int:
    """Returns how many more records must be read at least, all of them excluded, until one may stop; 0: at once.

    Args:
        ranked: Labels of the records read in ranked order, 1 included and 0 excluded, the last read last.
        n_read: How many records are read, in whichever order.
        n_records: How many there are.
        consecutive: How many of the last records must be excluded.
        least_share: Which share of the records must be read.
        estimated: How many included records there are by the estimate of a random sample; 0 without one.

    Example:
        >>> least_to_read([1, 0, 0], n_read=11, n_records=200, consecutive=3)
        9
    """
    excluded = next((place for place, label in enumerate(reversed(ranked)) if label == 1), len(ranked))
    share = math.ceil(Fraction(str(least_share)) * n_records)
    wanted = max(consecutive - excluded, share - n_read, math.ceil(2 * estimated) - n_read, 0)
    return min(wanted, n_records - n_read)
