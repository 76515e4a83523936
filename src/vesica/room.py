"""The life of a room: collecting -> open -> closed. One agreement, carried out once, in one process, in memory.

collecting: each party may submit once. When the last submission is accepted the keys are linked, the keys are dropped,
and the room holds one integer for each cell of the Venn diagram. open: questions are answered through
``release.Exit``. closed: data, keys and ledger are gone, and nothing can be asked.
"""

import threading
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from vesica import agreement as agreements
from vesica.agreement import Agreement
from vesica.epsilon import format_epsilon
from vesica.errors import AlreadySubmitted, RoomClosed, RoomNotOpen, SubmissionInProgress
from vesica.intake import Intake, Keys
from vesica.keys import KeySecret
from vesica.ledger import Ledger
from vesica.linkage import Venn, venn
from vesica.measure import MECHANISM, UNIT
from vesica.receipt import Envelope, Kind, ReceiptLog
from vesica.release import Exit, Question, Release
from vesica.sealed import Unsealer

_CLOSED: Final = "this room has closed; its data, keys and ledger are destroyed"


@unique
class State(StrEnum):
    """Where a room is in its life."""

    COLLECTING = "collecting"
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True)
class Presence:
    """One party, and whether its submission was accepted. Nothing about its size."""

    name: str
    submitted: bool


class LiveRoom:
    """One room. Every method may be called from any thread; none of them waits for another's input or output.

    A submission is claimed before its first byte is read (``claim``), and then either accepted (``accept``) or
    abandoned (``abandon``): of any number of uploads at the same time, one party has at most one.
    """

    def __init__(self, agreement: Agreement, receipts: ReceiptLog, unsealing_key: X25519PrivateKey) -> None:
        self.agreement: Final = agreement
        self.receipts: Final = receipts
        self.digest: Final = agreements.digest(agreement)
        self._lock = threading.Lock()
        self._state = State.COLLECTING
        self._claimed: set[str] = set()
        self._secret: KeySecret | None = KeySecret()
        self._unsealing_key: X25519PrivateKey | None = unsealing_key
        self._release_receipts: dict[int, Envelope] = {}
        self._keys: dict[str, Keys] = {}
        self._submitted: set[str] = set()
        self._venn: Venn | None = None
        self._exit: Exit | None = Exit(agreement)

    @property
    def state(self) -> State:
        """Where the room is in its life."""
        return self._state

    @property
    def complete(self) -> bool:
        """Whether every party has submitted; the room then opens shortly, if it is not open yet."""
        return len(self._submitted) == len(self.agreement.parties)

    def presences(self) -> tuple[Presence, ...]:
        """Who has submitted."""
        return tuple(Presence(name, name in self._submitted) for name in self.agreement.party_names())

    def claim(self, party: str) -> Intake:
        """The one place of a party, taken before a byte of its submission is read.

        Raises RoomClosed, AlreadySubmitted, SubmissionInProgress.
        """
        with self._lock:
            if self._state is State.CLOSED or self._secret is None:
                raise RoomClosed("this room has closed; it takes no submissions")
            if party in self._submitted:
                raise AlreadySubmitted("your one submission was accepted before, and it stays as it is")
            if party in self._claimed:
                raise SubmissionInProgress(
                    "another upload of yours is being read; wait for its answer, and try again only if it is refused"
                )
            self._claimed.add(party)
            return Intake(self.agreement.keys, self._secret)

    def unsealer(self, party: str) -> Unsealer:
        """What opens a sealed submission of a party that has claimed its place.

        Raises RoomClosed.
        """
        key = self._unsealing_key
        if key is None:
            raise RoomClosed("this room has closed; it takes no submissions")
        return Unsealer(key, self.digest, party)

    def abandon(self, party: str) -> None:
        """Gives a claimed place back; nothing of the submission is kept."""
        with self._lock:
            self._claimed.discard(party)

    def accept(self, party: str, keys: Keys) -> tuple[Envelope, bool]:
        """Keeps a claimed submission for good.

        Returns its receipt, and whether it was the last one, so that the room is now to be linked.

        Raises RoomClosed when the room closed meanwhile. ValueError when the place was not claimed.
        """
        with self._lock:
            if self._state is State.CLOSED:
                raise RoomClosed("this room closed while your file was being read; nothing of it is kept")
            if party not in self._claimed or party in self._submitted:
                raise ValueError("a submission without a claim")
            self._claimed.discard(party)
            self._submitted.add(party)
            self._keys[party] = keys
            receipt = self.receipts.append(Kind.SUBMISSION, {"party": party})
            return receipt, self.complete

    def link(self) -> None:
        """Links all submissions and drops their keys. Called once, after ``accept`` returned True; takes seconds."""
        with self._lock:
            if self._venn is not None or len(self._keys) != len(self.agreement.parties):
                raise ValueError("linking out of order")
            columns = [self._keys[name].sorted_keys for name in self.agreement.party_names()]
        linked = venn(columns)
        with self._lock:
            if self._state is State.CLOSED:
                return
            self._venn = linked
            self._drop_keys()
            self._secret = None
            self._unsealing_key = None

    def open(self) -> None:
        """Lets questions in. Called once, after ``link``."""
        with self._lock:
            if self._state is State.CLOSED:
                return
            if self._venn is None:
                raise ValueError("opening before linking")
            self._state = State.OPEN

    def release(self, question: Question) -> tuple[Release, bool]:
        """The answer to a question, and whether it is new (and so was paid for).

        Raises RoomNotOpen, RoomClosed, BudgetExceeded.
        """
        with self._lock:
            held, linked, state = self._exit, self._venn, self._state
        if held is None:
            raise RoomClosed(_CLOSED)
        if state is State.COLLECTING or linked is None:
            raise RoomNotOpen("not every party has submitted yet; GET /room tells who has")
        # Not under the room's lock: Exit has its own, and a draw must not hold up anything else.
        return held.release(question, linked)

    def release_receipt(self, release: Release) -> Envelope:
        """The receipt of a stored release, the same each time.

        It is made when it is first asked for, or when the room closes: a fault between a release and its receipt costs
        neither.
        """
        with self._lock:
            return self._receipt_of(release)

    def _receipt_of(self, release: Release) -> Envelope:
        receipt = self._release_receipts.get(release.number)
        if receipt is None:
            receipt = self.receipts.append(Kind.RELEASE, _released(release))
            self._release_receipts[release.number] = receipt
        return receipt

    def _drop_keys(self) -> None:
        """Overwrites and forgets all keys of rows. Under the lock."""
        for keys in self._keys.values():
            keys.sorted_keys.fill(0)
        self._keys.clear()

    def exit(self) -> Exit:
        """What was released and spent.

        Raises RoomClosed.
        """
        held = self._exit
        if held is None:
            raise RoomClosed(_CLOSED)
        return held

    def ledger(self) -> Ledger:
        """What each party has spent so far.

        Raises RoomClosed.
        """
        return self.exit().ledger

    def close(self, by: str) -> Envelope:
        """Destroys all data and keys, and states that. Closing a closed room changes nothing.

        by: the party that closes it, or what else does. Returns the closing receipt.
        """
        with self._lock:
            if self._state is State.CLOSED:
                return self.receipts.all()[-1]
            self._state = State.CLOSED
            if self._exit is not None:
                self._exit.close()
                for release in self._exit.releases():
                    self._receipt_of(release)
            self._drop_keys()
            self._claimed.clear()
            self._secret = None
            self._unsealing_key = None
            self._venn = None
            self._exit = None
            destroyed = ["hashing secret", "keys of rows", "ledger", "linked counts", "unsealing key"]
            return self.receipts.append(Kind.CLOSING, {"by": by, "destroyed": destroyed})


def _released(release: Release) -> dict[str, object]:
    """What a receipt says of a release. Numbers that are not whole are texts: one spelling each."""
    epsilon = format_epsilon(release.cost_nano)
    return {
        "accuracy": {"alpha": str(release.accuracy.alpha), "bound": release.accuracy.bound},
        "charged": [{"epsilon": epsilon, "name": name} for name in release.question.parties],
        "epsilon": format_epsilon(release.question.epsilon_nano),
        "mechanism": MECHANISM,
        "number": release.number,
        "parties": list(release.question.parties),
        "scale": repr(release.scale),
        "statistic": release.question.statistic.value,
        "unit": UNIT,
        "value": release.value,
    }
