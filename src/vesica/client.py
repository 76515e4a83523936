"""What a party runs: verify the room, submit once, ask, read.

    with vesica.Room("https://127.0.0.1:8443", token, policy="policy.toml") as room:
        room.submit("customers.csv")
        print(room.plan("intersection_cardinality", epsilon="0.5").accuracy)
        print(room.release("intersection_cardinality", epsilon="0.5").shown)

The room is verified on this machine before a token or a file leaves it; after that the client talks to the verified
key alone, and a file is sealed to the room besides. Every refusal is a ``vesica.VesicaError``: what a room refuses is a
class of ``vesica.errors``, what goes wrong on the way one of ``vesica.refusals``. A room's answers are not trusted: see
``exchange.py`` and ``_shape.py``.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self, TypeGuard, cast

from vesica import content
from vesica.answers import (
    AgreementShown,
    Budget,
    Plan,
    Release,
    RoomState,
    Submission,
    read_agreement,
    read_budgets,
    read_closing,
    read_plan,
    read_receipts,
    read_release,
    read_releases,
    read_room,
    read_submission,
)
from vesica.epsilon import format_epsilon, parse_epsilon
from vesica.errors import AlreadySubmitted, QuestionInvalid, ReceiptInvalid, RoomClosed, Unauthenticated, VesicaError
from vesica.exchange import RELEASES_BYTES_MAX, Answer, Exchange, parse_address, require_https
from vesica.journal import Begun, Feed, Keeping
from vesica.receipt import Envelope, Kind, Statement, check_receipt
from vesica.refusals import (
    AgreementMismatch,
    PolicyMissing,
    RoomAnsweredNonsense,
    RoomRefused,
    RoomUnreachable,
)
from vesica.sealed import MEDIA_TYPE, seal, sealed_bytes
from vesica.terms import Statistic
from vesica.tokens import token_sha256
from vesica.verified import PolicySource, VerifiedRoom, read_policy, verify_room

if TYPE_CHECKING:
    import pandas as pd

Epsilon = str | int | Decimal


class Room:
    """A room, as one party sees it. A context manager: leaving it ends the connection, and never closes the room.

    url: ``https://…``. token: the party's own. policy: what the party accepts as proof of where the room runs: the path
    of a ``policy.toml``, its bytes, or a ``Policy``. agreement_digest: SHA-256, hex, of the agreement that this party
    signed up to (``vesica agreement check`` prints it); a room that carries out another one is refused before anything
    is sent. Without it, compare ``agreement().digest``.

    With a policy, the room is verified once, before the first thing that is asked or sent. Without one, only what
    anybody may ask works (``state``, ``agreement``, ``plan``), over TLS that does not know who is at the other end:
    whoever is in the middle can make those answers up. Everything with a token or a file then raises PolicyMissing.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        policy: PolicySource | None = None,
        agreement_digest: str | None = None,
    ) -> None:
        self._address = parse_address(url)
        self._exchange = Exchange(self._address, token)
        self._token = token
        self._token_sha256 = None if token is None else token_sha256(token)
        self._policy = None if policy is None else read_policy(policy)
        self._digest = agreement_digest
        self._agreement: AgreementShown | None = None
        self._verified: VerifiedRoom | None = None

    @property
    def has_token(self) -> bool:
        """Whether a token was given."""
        return self._token_sha256 is not None

    @property
    def has_policy(self) -> bool:
        """Whether a policy was given, so that answers come from a verified room or not at all."""
        return self._policy is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Ends the connection; the room goes on."""
        self._exchange.disconnect()

    def verify(self) -> VerifiedRoom:
        """The room, verified: the first time by its evidence, later from memory.

        From then on every connection, also one made later, must show the verified key.

        Raises AddressRefused, PolicyMissing, AttestationRefused (naming the check), AgreementMismatch,
        RoomAnsweredNonsense, RoomUnreachable.
        """
        if self._policy is None:
            raise PolicyMissing("a room is verified by its reader's policy, and none was given; nothing was sent")
        return self._verify("a question for evidence")

    def _verify(self, what: str) -> VerifiedRoom:
        """what: for whose sake, at a sentence's beginning."""
        require_https(self._address, what)
        if self._policy is None:
            raise PolicyMissing(
                f"{what} goes to a room only once that was verified, and there is no policy to verify it by; "
                "nothing was sent"
            )
        if self._verified is None:
            verified = verify_room(self._address.base, self._policy, agreement_digest=self._digest)
            self._exchange.disconnect()
            self._exchange = Exchange(self._address, self._token, verified.context())
            self._agreement = verified.agreement
            self._verified = verified
        return self._verified

    def _anyone(self) -> Exchange:
        """For what anybody may ask; the verified room all the same, where there is a policy."""
        if self._policy is not None:
            self.verify()
        return self._exchange

    def _party(self) -> Exchange:
        """For what takes a token: the verified room, and no other."""
        if self._token is None:
            raise Unauthenticated("this needs a party's token")
        self._verify("the token")
        return self._exchange

    def agreement(self) -> AgreementShown:
        """The agreement that the room carries out; its digest was recomputed here.

        Raises AgreementMismatch when it is not the expected one.
        """
        exchange = self._anyone()
        if self._agreement is None:
            shown = read_agreement(exchange.get("/agreement").document)
            if self._digest is not None and shown.digest != self._digest.lower():
                raise AgreementMismatch(
                    f"the room carries out another agreement (digest {shown.digest}) than yours "
                    f"({self._digest.lower()}); nothing was sent"
                )
            self._agreement = shown
        return self._agreement

    def state(self) -> RoomState:
        """Whether the room is collecting, open or closed, and who has submitted."""
        return read_room(self._anyone().get("/room").document)

    def submit(
        self,
        source: "str | PathLike[str] | BinaryIO | pd.DataFrame",
        *,
        progress: content.Progress | None = None,
        keeping: Keeping | None = None,
    ) -> Submission:
        """Sends this party's one submission: the path of a CSV file, an open binary file, or a DataFrame of text.

        The room is verified first, and asked whether it would take the file; only then is that opened. It travels
        sealed to the verified room's key, inside TLS. progress: told the bytes read, and of how many (None: not known).
        keeping: the journal that remembers what the data set was fed to, and refuses past its owner's limit. What the
        room rejects it does not keep, and the party may try again.

        Raises AddressRefused, PolicyMissing, AttestationRefused, AgreementMismatch, Unauthenticated, AlreadySubmitted,
        RoomClosed, SubmissionRejected, DataSetLimitReached, ReceiptInvalid.
        """
        self._verify("the file")
        self._require_welcome()
        hashed = keeping is not None
        if isinstance(source, str | PathLike):
            with content.open_file(Path(source)) as stream:
                return self._upload(content.from_stream(stream, hashed=hashed), progress, keeping)
        if _is_frame(source):
            return self._upload(content.from_frame(source), progress, keeping)
        return self._upload(content.from_stream(cast("BinaryIO", source), hashed=hashed), progress, keeping)

    def plan(self, statistic: str, epsilon: Epsilon | None = None, parties: Sequence[str] | None = None) -> Plan:
        """What a release would cost each party, and how far off it might be. Free; touches no data."""
        question = _question(statistic, epsilon, parties)
        return read_plan(self._anyone().post("/plan", question).document)

    def release(self, statistic: str, epsilon: Epsilon | None = None, parties: Sequence[str] | None = None) -> Release:
        """One differentially private answer; it costs every party concerned ``epsilon``, unless it was asked before.

        epsilon: an exact decimal ("0.5"); None: the agreement's default. parties: a subset of at least two;
        None: all.

        Raises BudgetExceeded (nothing was spent), RoomNotOpen, RoomClosed, QuestionInvalid, Unauthenticated,
        ReceiptInvalid, and what ``verify`` raises.
        """
        question = _question(statistic, epsilon, parties)
        answer = self._party().post("/releases", question, token=True)
        release = read_release(answer.document, stored=not answer.created)
        if (
            release.statistic != statistic
            or (epsilon is not None and release.epsilon != _exact(epsilon))
            or (parties is not None and set(release.parties) != set(parties))
        ):
            raise RoomAnsweredNonsense("the room answered another question than the one it was asked")
        self._require_signed([release])
        return release

    def released(self) -> tuple[Release, ...]:
        """All past releases. Free."""
        answer = self._party().get("/releases", token=True, bytes_max=RELEASES_BYTES_MAX)
        releases = read_releases(answer.document)
        self._require_signed(releases)
        return releases

    def release_number(self, number: int) -> Release:
        """One past release. Free."""
        release = read_release(self._party().get(f"/releases/{int(number)}", token=True).document, stored=True)
        self._require_signed([release])
        return release

    def releases(self) -> "pd.DataFrame":
        """All past releases as a DataFrame, one row each; ``epsilon`` is an exact Decimal. Needs pandas.

        Raises PandasMissing.
        """
        frame = content.import_pandas()
        columns = (
            "number",
            "statistic",
            "parties",
            "value",
            "low",
            "high",
            "epsilon",
            "scale",
            "unit",
            "agreement_digest",
        )
        rows = [[getattr(release, column) for column in columns] for release in self.released()]
        table = frame(rows, columns=list(columns))
        table["statistic"] = table["statistic"].astype(str)
        return table

    def budgets(self) -> tuple[Budget, ...]:
        """What each party allows, has spent and has left."""
        return read_budgets(self._party().get("/budgets", token=True).document)

    def receipts(self) -> tuple[Envelope, ...]:
        """Every receipt that the room has signed so far; a closed room gives them, too. Free.

        ``receipts_check.check_receipts`` checks them, then or years later, offline.
        """
        answer = self._party().get("/receipts", token=True, bytes_max=RELEASES_BYTES_MAX)
        return read_receipts(answer.document)

    def close(self) -> Envelope:
        """Closes the room for all parties: data and keys are destroyed, for good. Returns the room's receipt of that.

        Raises ReceiptInvalid, when the room says that it closed and does not sign it.
        """
        receipt = read_closing(self._party().post("/close", token=True).document)
        self._checked(receipt, Kind.CLOSING)
        return receipt

    def party(self) -> str:
        """The name that the roster has for this token.

        Raises Unauthenticated.
        """
        if self._token_sha256 is None:
            raise Unauthenticated("this needs a party's token")
        name = self.agreement().party_of(self._token_sha256)
        if name is None:
            raise Unauthenticated("the token is not one of this room's agreement: is it for another room?")
        return name

    def _require_welcome(self) -> None:
        name = self.party()
        state = self.state()
        if state.state == "closed":
            raise RoomClosed("the room has closed; its data is destroyed")
        if any(party.name == name and party.submitted for party in state.parties):
            raise AlreadySubmitted(f"{name} has submitted; a submission is never replaced")

    def _upload(self, what: content.Content, progress: content.Progress | None, keeping: Keeping | None) -> Submission:
        verified, name = self.verify(), self.party()
        chunks: Iterable[bytes] = content.watched(what, progress)
        entry: _Entry | None = None
        if keeping is not None:
            entry = _Entry(keeping, self._feed(verified, name))
            chunks = content.hashed(chunks, entry.same if what.sha256 is not None else entry.begin)
            if what.sha256 is not None:
                entry.begin(what.sha256)  # before the first byte leaves
        sealed = seal(chunks, verified.identity.hpke_public_key, verified.agreement.digest, name)
        length = None if what.length is None else sealed_bytes(what.length)
        answer = self._send(sealed, length, entry)
        submission = read_submission(answer.document)
        if submission.party != name or self._checked(submission.receipt, Kind.SUBMISSION).body != {"party": name}:
            raise ReceiptInvalid("the room's receipt is of another party's submission")
        if entry is not None:
            entry.accepted(submission.receipt)
        return submission

    def _feed(self, verified: VerifiedRoom, name: str) -> Feed:
        limit = next(party.epsilon for party in verified.agreement.parties if party.name == name)
        return Feed(
            verified.agreement.name,
            verified.agreement.digest,
            verified.identity.receipt_public_key.hex(),
            name,
            parse_epsilon(limit),
        )

    def _send(self, sealed: Iterable[bytes], length: int | None, entry: "_Entry | None") -> Answer:
        try:
            return self._exchange.upload("/submissions", sealed, MEDIA_TYPE, length)
        except (RoomUnreachable, RoomAnsweredNonsense, RoomRefused):
            raise  # nobody knows whether it was taken: the journal's entry stays as it is, and counts
        except VesicaError:
            if entry is not None:
                entry.refused()
            raise

    def _checked(self, receipt: Mapping[str, object], kind: Kind) -> Statement:
        """A receipt that the verified room signed.

        Raises ReceiptInvalid.
        """
        verified = self.verify()
        statement = check_receipt(receipt, verified.identity.receipt_public_key)
        if statement.kind is not kind or statement.agreement_digest != verified.agreement.digest:
            raise ReceiptInvalid(f"the room's receipt is not of a {kind} under this agreement")
        return statement

    def _require_signed(self, releases: Iterable[Release]) -> None:
        digest = self.agreement().digest
        for release in releases:
            if release.agreement_digest != digest:
                raise RoomAnsweredNonsense("a release names another agreement than the one the room showed")
            body = self._checked(release.receipt, Kind.RELEASE).body
            said = (release.number, str(release.statistic), list(release.parties), release.value)
            signed = tuple(body.get(field) for field in ("number", "statistic", "parties", "value"))
            if said != signed or body.get("epsilon") != format_epsilon(parse_epsilon(release.epsilon)):
                raise ReceiptInvalid(f"the receipt of release {release.number} says something else than the release")


class _Entry:
    """The journal's entry of one submission: begun once, then accepted, refused, or left as it is."""

    def __init__(self, keeping: Keeping, feed: Feed) -> None:
        self._keeping = keeping
        self._feed = feed
        self._begun: Begun | None = None

    def begin(self, sha256: bytes) -> None:
        """Writes the entry. Raises DataSetLimitReached, with nothing written."""
        begun = self._keeping.journal.begin(sha256, self._feed, self._keeping.limit_nano)
        self._begun, self._sha256 = begun, sha256
        if self._keeping.tell is not None:
            self._keeping.tell(begun)

    def same(self, sha256: bytes) -> None:
        """Refuses a file that is another one than the entry says."""
        if sha256 != self._sha256:
            raise content.changed()

    def accepted(self, receipt: Mapping[str, object]) -> None:
        """The room has taken it, and signed that."""
        if self._begun is not None:
            self._keeping.journal.accepted(self._begun.number, receipt)

    def refused(self) -> None:
        """The room has not taken it, and never will take these bytes."""
        if self._begun is not None:
            self._keeping.journal.refused(self._begun.number)


def _is_frame(source: object) -> "TypeGuard[pd.DataFrame]":
    return (
        type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "iloc") and hasattr(source, "columns")
    )


def _exact(epsilon: Epsilon) -> Decimal:
    return Decimal(format_epsilon(parse_epsilon(epsilon)))


def _question(statistic: str, epsilon: Epsilon | None, parties: Sequence[str] | None) -> dict[str, object]:
    if statistic not in {*Statistic}:
        raise QuestionInvalid(f"a statistic is one of: {', '.join(Statistic)}")
    question: dict[str, object] = {"statistic": str(statistic)}
    if epsilon is not None:
        question["epsilon"] = format_epsilon(parse_epsilon(epsilon))
    if parties is not None:
        question["parties"] = list(parties)
    return question
