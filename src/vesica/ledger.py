"""What each party has spent, in integers of nano-epsilon. All parties concerned can pay, or nothing is spent.

A ledger is a value. ``debit`` returns the next one or raises; there is nothing to roll back, and two threads cannot
half-write it. Who holds the current one (``release.Exit``) holds a lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from vesica.epsilon import format_epsilon
from vesica.errors import BudgetExceeded


@dataclass(frozen=True)
class Account:
    """One party's limit and what was spent of it, nano-epsilon, ``0 <= spent <= limit``."""

    limit: int
    spent: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.spent <= self.limit:
            raise ValueError("an account outside its limit")

    @property
    def remaining(self) -> int:
        """What is left, nano-epsilon."""
        return self.limit - self.spent


@dataclass(frozen=True)
class Ledger:
    """Every party's account."""

    accounts: Mapping[str, Account]

    def debit(self, parties: tuple[str, ...], cost: int, smallest: int) -> "Ledger":
        """The ledger after every one of ``parties`` paid ``cost`` nano-epsilon (basic composition: privacy losses add
        up).

        smallest: of all releases allowed, so that a refusal names no epsilon that would be refused as well.

        Raises BudgetExceeded, naming who is short, by how much, and the largest epsilon that would fit; this ledger is
        as it was. ValueError for a cost or a set of parties that no release has.
        """
        if cost <= 0 or not parties or len(set(parties)) != len(parties):
            raise ValueError("a debit needs a positive cost and different parties")
        short = [name for name in parties if self.accounts[name].remaining < cost]
        if short:
            raise self._refusal(short, parties, cost, smallest)
        paid = {name: replace(self.accounts[name], spent=self.accounts[name].spent + cost) for name in parties}
        return Ledger(MappingProxyType({**self.accounts, **paid}))

    def _refusal(self, short: list[str], parties: tuple[str, ...], cost: int, smallest: int) -> BudgetExceeded:
        largest = min(self.accounts[name].remaining for name in parties)
        fits = format_epsilon(largest) if largest >= smallest else None
        who = ", ".join(
            f"{name} has {format_epsilon(self.accounts[name].remaining)} left and is "
            f"{format_epsilon(cost - self.accounts[name].remaining)} short"
            for name in short
        )
        what = f"the largest epsilon that fits is {fits}" if fits else "no epsilon fits any more"
        return BudgetExceeded(
            f"this release costs every party concerned {format_epsilon(cost)}: {who}; {what}. Nothing was spent",
            short=[
                {
                    "name": name,
                    "remaining": format_epsilon(self.accounts[name].remaining),
                    "missing": format_epsilon(cost - self.accounts[name].remaining),
                }
                for name in short
            ],
            largest_epsilon=fits,
        )


def opening_ledger(limits: Mapping[str, int]) -> Ledger:
    """The ledger of a room that has released nothing. limits: nano-epsilon by party."""
    return Ledger(MappingProxyType({name: Account(limit) for name, limit in limits.items()}))
