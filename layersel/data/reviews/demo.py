"""The embedded review: 300 records on trajectories of post-traumatic stress, 43 of them included."""

from dataclasses import dataclass
from importlib.resources import as_file, files

from layersel.data.reviews.readers import RawRecords, read_records
from layersel.data.reviews.source import ReviewSource


@dataclass
class Demo(ReviewSource):
    """Part of van de Schoot et al. 2017 (CC BY 4.0, doi 10.17605/OSF.IO/VK4BE).

    Example:
        >>> print(Demo().load().report.lines()[0])
        300 records: 43 included, 257 excluded, 0 unlabelled
    """

    @property
    def name(self) -> str:
        """The name that reports use for the review."""
        return "ptsd"

    def read(self) -> RawRecords:
        """Returns the records as they are written in the file."""
        with as_file(files("layersel.data.reviews.demo_review") / "ptsd.csv") as path:
            return read_records(path)
