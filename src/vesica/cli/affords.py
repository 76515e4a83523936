"""What a budget buys: so many releases, each within so many rows of the truth."""

from dataclasses import dataclass
from typing import Final

from vesica.accuracy import ALPHA, bound
from vesica.agreement import Agreement, Party

RELEASES: Final = (1, 2, 5, 10, 20)


@dataclass(frozen=True)
class Affords:
    """``releases`` of equal epsilon, each within ``bound`` rows of the truth, 19 times out of 20.

    None for both: the agreement allows no release as cheap as that.
    """

    releases: int
    epsilon_nano: int | None
    bound: int | None


def affords(agreement: Agreement, party: Party) -> tuple[Affords, ...]:
    """What a party's limit affords, for 1, 2, 5, 10 and 20 releases."""
    return tuple(_share(party.epsilon_nano, n, agreement.releases.epsilon_min_nano) for n in RELEASES)


def poorest(agreement: Agreement) -> Party:
    """The party whose limit ends first what is asked of all."""
    return min(agreement.parties, key=lambda party: party.epsilon_nano)


def _share(limit_nano: int, releases: int, least_nano: int) -> Affords:
    share = limit_nano // releases
    if share < least_nano:
        return Affords(releases, None, None)
    return Affords(releases, share, bound(share, ALPHA))
