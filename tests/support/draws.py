"""Noise as it leaves the room: many releases, each through ``vesica.release.Exit`` and an account that pays for it."""

from collections.abc import Sequence
from functools import lru_cache

from support.rooms import agreed, overlap, question
from vesica.release import Exit

# 100 is the largest limit that there is; a test of noise is not a test of refusals.
_AGREEMENT = agreed({"alice": "100", "bob": "100"})


def released_noise(epsilon: str, truth: int, count: int) -> Sequence[int]:
    """Value minus truth of ``count`` releases of an intersection of ``truth`` ids. A fresh Exit for each: one
    would give its stored answer the second time.
    """
    asked, venn = question(_AGREEMENT, epsilon), overlap(truth)
    noise = []
    for _ in range(count):
        held = Exit(_AGREEMENT)
        release, new = held.release(asked, venn)
        paid = held.ledger.accounts["alice"].spent
        if not new or not 0 < paid <= asked.epsilon_nano or held.releases() != (release,):
            raise AssertionError("this noise did not come through the release path")
        noise.append(release.value - truth)
    return noise


@lru_cache(maxsize=32)
def released_noise_once(epsilon: str, truth: int, count: int) -> Sequence[int]:
    """The same, drawn once a process: what two tests ask about one sample costs 15 seconds, not 30."""
    return tuple(released_noise(epsilon, truth, count))
