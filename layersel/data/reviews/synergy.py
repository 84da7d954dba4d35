"""The 26 reviews of SYNERGY, as the ASReview team publishes them.

De Bruin, Ma, Ferdinands, Teijema and Van de Schoot (2023), "SYNERGY - Open machine learning dataset on study selection
in systematic reviews", DataverseNL, V1, doi 10.34894/HE6NAQ. The counts are those of the dataset's own table; the
checksums are the names that git gives the files of the team's release v1.0, from which they are downloaded. Each review
has labels.csv (`openalex_id`, `doi`, `pmid`, `label_included`) and one or two archives of works of OpenAlex, with
abstracts as inverted indices.

`Walker_2018` and `Wassenaar_2017` are `Transgenerational` and `BPA` of Howard et al. 2016, with texts.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from layersel.data.reviews.catalogue import Catalogue, CatalogueEntry, PublishedFile
from layersel.data.reviews.openalex import read_works
from layersel.data.reviews.published import PublishedReview
from layersel.data.reviews.readers import RawRecords

PUBLISHER = "https://raw.githubusercontent.com/asreview/synergy-dataset/254b1cc6e11ace77ae26c7f8fbe8997a632f2680"
_COLUMNS = ["openalex_id", "doi", "pmid", "title", "abstract", "authors", "publication_year", "label_included"]


def _entry(name: str, records: int, included: int, labels: str, *works: str) -> CatalogueEntry:
    """Returns a row of the catalogue: checksums of the labels and of each archive of works."""
    checksums = {"labels.csv": labels} | {f"works_{number}.zip": own for number, own in enumerate(works, start=1)}
    files = [
        PublishedFile(f"{name}/{file}", f"{PUBLISHER}/{name}/{file}", f"git-blob:{own}")
        for file, own in checksums.items()
    ]
    return CatalogueEntry(name, records, included, tuple(files))


# fmt: off
_ENTRIES = tuple(_entry(*row) for row in (
    ("Appenzeller-Herzog_2019", 2873, 26, "6f21cada643b24afa5ffe63a2dc2f9e6a9ffe52e",
        "0729bb96cefae51186bb714a8ecf2e2e15987a7e"),
    ("Bos_2018", 4878, 10, "9cd1e8d16332d1b693f99746e764558ea8e8ddc6", "ac7c2f6dcc547e1d541ed888db50d6535b181fca"),
    ("Brouwer_2019", 38114, 62, "2082a10cd33a72f3ecffaba91dce8eb04ea19a35",
        "c6db9f980e6efb0247ffcb2534c2ba8da294f923", "ce30e10d15e776200e43a305a239e1ff97c5673c"),
    ("Chou_2003", 1908, 15, "550f506a1364722b05bbde18c4451530273d52f0", "02df721611d113672bcee6164114f14479b27ea0"),
    ("Chou_2004", 1630, 9, "45f33ef0a9ca5cff33926e2ec46cdecb8924f7ea", "337c106493893753d6a9d7ab1e321b84ac0b46a3"),
    ("Donners_2021", 258, 15, "141f29af81fd986ea4eecde8c62ed19dd87103b4", "585de3a0290b49ea4fa605592dd696832c2a13e0"),
    ("Hall_2012", 8793, 104, "a9b32e2b2666a75ba9d5da95deb87677706f5e24", "d1de0285171901bc77496be0bbfa64bd01ca3216"),
    ("Jeyaraman_2020", 1175, 96, "572df42a5d8aebb61876bfd274ebf689a12ab771",
        "956ca99839f116b8ae4694ca49f0389bdd7ba96f"),
    ("Leenaars_2019", 5812, 17, "2cb36b8a350466e07c600a59fc883fdae5f62aab", "5deeb9c8f315680b0d658983359e17ec2c717b0a"),
    ("Leenaars_2020", 7216, 583, "ae989048b2eaa48c1c7649cb8b9effb8672ba5a4",
        "e53a3c9859716b58a11c8a10be9d7a1c9881acdc"),
    ("Meijboom_2021", 882, 37, "cd820ca0491537b8c1a2f70ebc119ea8cfdbed78", "8a0cbf0c2be0889a06abecae3e55aaba1c885a68"),
    ("Menon_2022", 975, 74, "131d2cfccacddc9a19c4f120f755ffad89cfb18b", "7bdd76baf0b861b42131315ae9b8216ce2abe748"),
    ("Moran_2021", 5214, 111, "b1a25a5a0982becf5a0094014561b88a5b982eb1", "f9531d7882976a89abebaca211dfd405fd1c4748"),
    ("Muthu_2021", 2719, 336, "de9c642e85a27eaafb8d36f90293efd4514d0371", "76f5b3b7270d7ce5626afe888a954ada345bdc32"),
    ("Nelson_2002", 366, 80, "2a370ae823f3c74ea4906a91d0d0b7be225395f4", "248d9ccde66dbf127b8b033112c562a0ea848ad6"),
    ("Oud_2018", 952, 20, "a7d942715e28e9429eab57447db25fb332af6758", "672a1028df0eac7b68eecfac346fadaf792ddd44"),
    ("Radjenovic_2013", 5935, 48, "a0500394f5a18b3c5a77c1f78f7d164f9251fe9a",
        "5a4a591244caa61e9bb29c85829e256fc665cf17"),
    ("Sep_2021", 271, 40, "115912e31cd9f46d40b9e436b2b8467e19135530", "6ba1cf1cc9e29c126a205f8fb344ddb98d003947"),
    ("Smid_2020", 2627, 27, "7d973fed3b8e74105362ee7d0210948495304fea", "0b19d2bb659a7b497409b7acc7bdd16e159f31e4"),
    ("van_de_Schoot_2018", 4544, 38, "bad6f501fe2465899cd1dfce71c041f0ac0e290b",
        "5c60dae992bab478a1db15fd03047651eeca67ca"),
    ("van_der_Valk_2021", 725, 89, "e423f257bc72db01ddff10f2926b97aed921e6e5",
        "53aef4ac52be363f09da3ff0d40b4c264cee07bb"),
    ("van_der_Waal_2022", 1970, 33, "0f66d5e85761943e93a0198e9827d4bb1e4248c7",
        "f16bd7ea183b6e343c32747f7d76d6e3cfe7dc78"),
    ("van_Dis_2020", 9128, 72, "e2688c58aa275f3a6fd97ab4475dc4dee2572899", "cd8de573d3555927a39927895cbf75049dd4df42"),
    ("Walker_2018", 48375, 762, "5ad87834d634dcae6dd9cbbd821d0c020a5bc91c",
        "2fc3e6cce54d097e9141f1f68ea6d90c9ec2b1da", "05697aeeb1f08fd21f2cd43f3f9cea555a5e215f"),
    ("Wassenaar_2017", 7668, 111, "a57ac07f809d696e1d9a00fea8c71a1ae12b330b",
        "d81812d989690b896eeb44fe296666ea60786f28"),
    ("Wolters_2018", 4280, 19, "5eb28265a53bbab2367189b8cc6cdf8bcda87459", "d6b88517a60ef41009861dde9cf8af8cdb28f612"),
))
# fmt: on

SYNERGY = Catalogue(
    folder="synergy_1.0",
    reference="De Bruin et al. 2023, doi 10.34894/HE6NAQ",
    licence="CC0 1.0",
    entries=_ENTRIES,
)


@dataclass
class Synergy(PublishedReview):
    """One of the 26 reviews; records included after reading the full text.

    Example:
        >>> Synergy(review="van de schoot 2018").entry.records
        4544
    """

    catalogue: ClassVar[Catalogue] = SYNERGY

    def columns(self) -> Mapping[str, str | None]:
        """Returns the columns of the decisions and of OpenAlex's identifiers; the others are recognised by name."""
        return {**super().columns(), "id": "openalex_id"}

    def parse(self, entry: CatalogueEntry, paths: Sequence[Path]) -> RawRecords:
        """Returns the labelled works, in the order of the labels."""
        labels, *archives = paths
        works = {work["openalex_id"]: work for path in archives for work in read_works(path)}
        rows = [
            works[row["openalex_id"].lower()] | row | {"pmid": row["pmid"].rpartition("/")[2]}
            for row in csv.DictReader(io.StringIO(labels.read_text(encoding="utf-8")))
        ]
        return RawRecords("openalex", "utf-8", _COLUMNS, rows)
