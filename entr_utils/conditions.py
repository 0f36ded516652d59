"""What has to be the same before records are compared, before their pairs are pooled, before seconds mean the same.

And the letters that tables and figures give to what is not the same. No torch here.
"""

import re
from itertools import product
from string import ascii_uppercase

from entr_utils.keys import key_of
from entr_utils.parameters import of_record
from entr_utils.regimes import PROFILES, PROTOCOL


def comparable(identity: dict) -> str:
    """A key of all that must agree in pairs of which one mean is taken: the identity without regime, stages and seed,
    and of the device its `kind`. The two runs of a pair are of one device all the same (`statistics.PAIR`)."""
    free = {"regime", "stages", "seed", "split_sha256"}
    rest = {name: value for name, value in identity.items() if name not in free}
    return key_of(rest | {"device": kind(identity["device"])})[:12]


def split_rule(record: dict) -> str:
    """How the images were split, without the seed: "stratified by class, 90/10, by image"."""
    return re.sub(r"^seed \d+, ", "", record["split"]).replace(" 1 sets ", " 1 set ")  # as older records have it


def setting(record: dict) -> str:
    """What has to be the same before seconds mean the same: the device, and the conditions (`of`)."""
    device = record["environment"]["device"]
    return of(record).replace(kind(device), device, 1)


def of(record: dict) -> str:
    """What has to be the same before pairs are pooled: kind of device, precision, protocol, and what was asked for
    beside what the profile says: a run with a schedule of its own is no replicate of the regime it is named after."""
    shared = usual(record["environment"]["device"], record["precision"], record["protocol"])
    return ", ".join([shared, *asked_for(record)])


def usual(device: str, precision: str, protocol: int = PROTOCOL) -> str:
    """The conditions of a run of which nothing was asked for."""
    return f"{kind(device)}, {precision}, protocol {protocol}"


def kind(device: str) -> str:
    """Processors with as many threads are of one kind; every GPU is of its own."""
    return re.sub(r".*, (\d+) threads", r"\1 threads of a processor", device)


def asked_for(record: dict) -> list[str]:
    """In which of size, batch and schedule a run is not what its profile and regime say."""
    profile, given = PROFILES[record["profile"]], of_record(record)
    asked = [f"{given['size']} px"] if given["size"] != profile.size else []
    asked += [f"batch {given['batch']}"] if given["batch"] != profile.batch else []
    asked += [f"full size from {given['switch']}"] if given.get("switch", "CMult") != "CMult" else []
    asked += [f"share {given['share']:g}"] if "share" in given and "matched" not in record else []
    return asked


def letters(records: list[dict]) -> dict[str, str]:
    """A letter for each setting where there are several, for tables and figures; else nothing."""
    found = sorted(set(map(setting, records)))
    names = (*ascii_uppercase, *map("".join, product(ascii_uppercase, repeat=2)))
    return dict(zip(found, names, strict=False)) if len(found) > 1 else {}


def lettered(made_on: tuple[tuple[str, int], ...], letter: dict[str, str]) -> str:
    """The letters of what a comparison was made on (`statistics.compare`), with the pairs of each of several."""
    several = len(made_on) > 1
    return ", ".join(f"{letter[where]} ({n})" if several else letter[where] for where, n in made_on)
