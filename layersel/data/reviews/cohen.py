"""The 15 drug class reviews of Cohen et al. 2006, as the ASReview team publishes them.

Cohen, Hersh, Peterson and Yen (2006), "Reducing workload in systematic review preparation using automated
citation classification", JAMIA 13(2), doi 10.1197/jamia.M1929.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from layersel.data.reviews.catalogue import Catalogue, CatalogueEntry, PublishedFile
from layersel.data.reviews.published import PublishedReview
from layersel.data.reviews.readers import RawRecords, read_records

PUBLISHER = (
    "https://raw.githubusercontent.com/asreview/systematic-review-datasets/"
    "0909240fec2602c3ecef82d131790d390edb33bf/datasets/Cohen_2006/output"
)


def _entry(name: str, records: int, included: int, checksum: str, folder: str = "local") -> CatalogueEntry:
    """Returns a row of the catalogue; `folder` is the publisher's folder that the file stands in."""
    file = PublishedFile(f"{name}.csv", f"{PUBLISHER}/{folder}/{name}.csv", checksum)
    return CatalogueEntry(name, records, included, (file,))


# fmt: off
_ENTRIES = tuple(_entry(*row) for row in (
    ("ACEInhibitors", 2544, 41, "sha256:67bc0b3ad9bd9d98610cfe124336fb192a19a921dfb6ac52ee486caac64fd27f", "online"),
    ("ADHD", 851, 20, "sha256:18d3844ce1a8b526ae056ebde213eced35ef08297c11b39ea47ca8838cc67c99"),
    ("Antihistamines", 310, 16, "sha256:b94543e803479e978afe12fa21cd7c6e0e661ed12b6684b3ea867c7748432686"),
    ("AtypicalAntipsychotics", 1120, 146, "sha256:e1d1c314bfb20a242dfab16fb78aa9d88fa61a95fd65dc3df3ef50f34423f17f"),
    ("BetaBlockers", 2072, 42, "sha256:75199a853a876610a1fa84b89058290c8e2a24291a0a9afca721b71322f3d801"),
    ("CalciumChannelBlockers", 1218, 100, "sha256:2fc7e1d1c4433f0937f6c3dcd8a27fa84f98a0f85308f62a47595c120cb66e01"),
    ("Estrogens", 368, 80, "sha256:de02bce4f3ff189dd0da32f52d48e1e5f45f3aa039384becc687892d98ba74b3"),
    ("NSAIDS", 393, 41, "sha256:198e60d84664838b41c1cc12b9f0693d552643f77016d513c0a2153e74788732"),
    ("Opiods", 1915, 15, "sha256:20855824d740f1948a6fba70ecf093a1f8d48d9a9cc60b03b79c6d9338473055"),
    ("OralHypoglycemics", 503, 136, "sha256:6697a7bc2f1164bbff9dbc18633997c6a7cdf1b772a80e8f8a931c130a3b351b"),
    ("ProtonPumpInhibitors", 1333, 51, "sha256:fd1a6c0f110a8128b77e407f6167d7418148bf7bad93f2a34df7a6004cd3882c"),
    ("SkeletalMuscleRelaxants", 1643, 9, "sha256:6b280fd6a2c8bfcfc1666be7723a657f13ce4c4891f7cafb7d030d89986694db"),
    ("Statins", 3465, 85, "git-blob:253c22457db927ca1b634397374d767195b2d0ab"),
    ("Triptans", 671, 24, "sha256:6c3f4eec28a4451321ca12c1799989efda2e937462052b53865b22598c27a5c6"),
    ("UrinaryIncontinence", 327, 40, "sha256:6ce0c46ea56394979aa9e919448eccaf9241c0c1e228e641f87da0fa854bc491"),
))
# fmt: on

COHEN = Catalogue(
    folder="cohen_2006",
    reference="Cohen et al. 2006, doi 10.1197/jamia.M1929",
    licence="custom open license, https://dmice.ohsu.edu/cohenaa/systematic-drug-class-review-data.html",
    entries=_ENTRIES,
    also={"opioids": "Opiods"},
)


@dataclass
class Cohen(PublishedReview):
    """One of the 15 reviews; records included after reading the full text.

    Example:
        >>> Cohen(review="ace inhibitors").entry.records, Cohen(review="Opioids").name
        (2544, 'Opiods')
    """

    catalogue: ClassVar[Catalogue] = COHEN

    def parse(self, entry: CatalogueEntry, paths: Sequence[Path]) -> RawRecords:
        """Returns the records of the review's table."""
        return read_records(paths[0])
