"""What a party's data sets were fed to, and how much epsilon that commits: a file on the party's own machine.

A room limits what it releases about a submission; no room knows of another. Whoever feeds one data set to ten rooms has
ten limits that add up, and this journal is where they are added up. A data set is known by HMAC-SHA256, under a random
key of the journal, of its file's SHA-256: somebody who sees a list of entries learns nothing of the files, and whoever
has the journal itself can do no more than recognise a file that they have already. A file that differs in one byte is
another data set.

An entry is written before the room can have the file. Then it is marked accepted, or refused; where neither was learnt
(a crash, a cut line) it stays "sending", and counts as if it had been accepted. One room accepts one submission a
party, so that trying again at the same room is not counted twice. Amounts are integers of nano-epsilon.
"""

import contextlib
import hmac
import json
import os
import secrets
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum, unique
from pathlib import Path
from typing import Final

from vesica.epsilon import format_epsilon
from vesica.refusals import DataSetLimitReached, JournalUnusable

LIMIT_NANO_MAX: Final = 2**53  # nine million epsilon: no limit at all, and exact in every reader of JSON
WAIT_SECONDS_MAX: Final = 30.0  # for another process to finish its entry
_FORMAT_VERSION: Final = 1
_KEY_BYTES: Final = 32
_SCHEMA: Final = (
    "CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1), key BLOB NOT NULL, limit_nano INTEGER)",
    """CREATE TABLE fed (
        number INTEGER PRIMARY KEY, data_set BLOB NOT NULL,
        agreement_name TEXT NOT NULL, agreement_digest TEXT NOT NULL,
        room TEXT NOT NULL, party TEXT NOT NULL, epsilon_nano INTEGER NOT NULL CHECK (epsilon_nano > 0),
        state TEXT NOT NULL CHECK (state IN ('sending', 'accepted', 'refused')),
        begun_at TEXT NOT NULL, receipt TEXT)""",
    "CREATE INDEX fed_data_set ON fed (data_set)",
    f"PRAGMA user_version = {_FORMAT_VERSION}",
)
_FEED: Final = "agreement_name, agreement_digest, room, party, epsilon_nano"
_COLUMNS: Final = f"number, data_set, {_FEED}, state, begun_at, receipt"


@unique
class State(StrEnum):
    """Where a feeding ended. SENDING: not known to have ended; it counts."""

    SENDING = "sending"
    ACCEPTED = "accepted"
    REFUSED = "refused"


@dataclass(frozen=True)
class Feed:
    """A room that is about to get a data set. room: its receipt key, hex, which no other room has.

    epsilon_nano: the party's limit in that agreement, which is what feeding it commits.
    """

    agreement_name: str
    agreement_digest: str
    room: str
    party: str
    epsilon_nano: int


@dataclass(frozen=True)
class Entry:
    """One feeding. data_set: the keyed digest, hex. begun_at: UTC, by this machine's clock. receipt: the room's."""

    number: int
    data_set: str
    feed: Feed
    state: State
    begun_at: str
    receipt: Mapping[str, object] | None = field(repr=False)


@dataclass(frozen=True)
class Begun:
    """An entry just written. earlier: entries of the same data set that count, without those of this very room.

    committed_nano: everything that counts for the data set, this feeding included. limit_nano: the owner's, or None.
    """

    number: int
    data_set: str
    earlier: tuple[Entry, ...]
    committed_nano: int
    limit_nano: int | None


@dataclass(frozen=True)
class Keeping:
    """How one submission is written down. limit_nano: below the owner's own limit, for this once; None: only that.

    tell: called when the entry is written, before the room can have the file.
    """

    journal: "Journal"
    limit_nano: int | None = None
    tell: Callable[[Begun], None] | None = None


def default_path() -> Path:
    """``$XDG_STATE_HOME/vesica/journal.sqlite3``, or below ``~/.local/state``."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # the specification says to ignore others
        state = Path("~/.local/state").expanduser()
    return state / "vesica" / "journal.sqlite3"


def committed(entries: Iterable[Entry]) -> int:
    """Nano-epsilon that some entries of one data set commit: each room once for each party, whatever was refused not.

    A room takes one submission a party, so that several tries commit what one does.
    """
    rooms: dict[tuple[str, str], int] = {}
    for entry in entries:
        if entry.state is not State.REFUSED:
            key = (entry.feed.room, entry.feed.party)
            rooms[key] = max(rooms.get(key, 0), entry.feed.epsilon_nano)
    return sum(rooms.values())


class Journal:
    """A journal file. It is made, readable by its owner alone, when it is first written to.

    Safe for several processes and threads: everything is one transaction, and what is written is on disk when a method
    returns. Every method raises JournalUnusable.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path: Final = default_path() if path is None else Path(path)

    def begin(self, file_sha256: bytes, feed: Feed, limit_nano: int | None = None) -> Begun:
        """Writes, before it is fed, that a data set is fed to a room.

        limit_nano: a limit for this once, which can be below the owner's own but never lifts it.

        Raises DataSetLimitReached, and writes nothing.
        """
        with self._transaction() as db:
            key, own = db.execute("SELECT key, limit_nano FROM owner").fetchone()
            data_set = hmac.digest(key, file_sha256, "sha256")
            entries = _entries(db, data_set)
            number = db.execute(
                f"INSERT INTO fed (data_set, {_FEED}, state, begun_at) "  # noqa: S608 (constants of this module)
                "VALUES (?, ?, ?, ?, ?, ?, 'sending', ?)",
                (
                    data_set,
                    feed.agreement_name,
                    feed.agreement_digest,
                    feed.room,
                    feed.party,
                    feed.epsilon_nano,
                    datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                ),
            ).lastrowid
            total = committed(_entries(db, data_set))
            limit = min((one for one in (own, limit_nano) if one is not None), default=None)
            if limit is not None and total > limit:
                raise DataSetLimitReached(
                    f"this data set would be committed to ε {format_epsilon(total)} in all, and its owner's limit is "
                    f"ε {format_epsilon(limit)}; nothing was submitted",
                    committed=format_epsilon(committed(entries)),
                    wanted=format_epsilon(feed.epsilon_nano),
                    limit=format_epsilon(limit),
                )
        this = (feed.room, feed.party)
        earlier = tuple(e for e in entries if e.state is not State.REFUSED and (e.feed.room, e.feed.party) != this)
        return Begun(int(number or 0), data_set.hex(), earlier, total, limit)

    def accepted(self, number: int, receipt: Mapping[str, object]) -> None:
        """Marks an entry: the room has the data set, and signed that."""
        self._end(number, State.ACCEPTED, json.dumps(receipt, sort_keys=True))

    def refused(self, number: int) -> None:
        """Marks an entry: the room has not taken the data set, and what was sent is worth nothing."""
        self._end(number, State.REFUSED, None)

    def entries(self) -> tuple[Entry, ...]:
        """Every entry, in their order."""
        if not self.path.exists():
            return ()
        with self._transaction() as db:
            return _entries(db)

    def limit(self) -> int | None:
        """The owner's own limit for each data set, nano-epsilon; None: there is none."""
        if not self.path.exists():
            return None
        with self._transaction() as db:
            limit: int | None = db.execute("SELECT limit_nano FROM owner").fetchone()[0]
            return limit

    def set_limit(self, limit_nano: int | None) -> None:
        """Sets the owner's own limit, or takes it away. What was committed stays committed.

        ValueError for a limit out of bounds.
        """
        if limit_nano is not None and not 0 < limit_nano <= LIMIT_NANO_MAX:
            raise ValueError("a limit out of bounds")
        with self._transaction() as db:
            db.execute("UPDATE owner SET limit_nano = ?", (limit_nano,))

    def _end(self, number: int, state: State, receipt: str | None) -> None:
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE fed SET state = ?, receipt = ? WHERE number = ? AND state = 'sending'",
                (state.value, receipt, number),
            ).rowcount
            if changed != 1:
                raise ValueError("an entry that is not being sent")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction, alone: taken before the first look, so that two processes cannot both see room for one."""
        try:
            self._make_private()
            with contextlib.closing(sqlite3.connect(self.path, WAIT_SECONDS_MAX, isolation_level=None)) as db:
                db.execute("PRAGMA synchronous = EXTRA")
                db.execute("BEGIN IMMEDIATE")
                try:
                    _make_tables(db)
                    yield db
                except BaseException:
                    db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise JournalUnusable(f"cannot use the journal {self.path}: {error}") from None
        except OSError as error:
            raise JournalUnusable(f"cannot use the journal {self.path}: {error.strerror}") from None

    def _make_private(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Opened without following what somebody else may have put there, and never readable by others, not even new.
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)


def _make_tables(db: sqlite3.Connection) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == _FORMAT_VERSION:
        return
    if version != 0 or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise sqlite3.DatabaseError("it is not a journal, or of another version of vesica")
    for statement in _SCHEMA:
        db.execute(statement)
    db.execute("INSERT INTO owner VALUES (1, ?, NULL)", (secrets.token_bytes(_KEY_BYTES),))


def _entries(db: sqlite3.Connection, data_set: bytes | None = None) -> tuple[Entry, ...]:
    where = "" if data_set is None else " WHERE data_set = ?"
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM fed{where} ORDER BY number",  # noqa: S608 (constants of this module)
        () if data_set is None else (data_set,),
    )
    return tuple(
        Entry(number, digest.hex(), Feed(*feed), State(state), begun_at, json.loads(receipt or "null"))
        for number, digest, *feed, state, begun_at, receipt in rows
    )
