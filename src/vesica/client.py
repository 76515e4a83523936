"""What a party runs: look at the room, submit once, ask, read.

    with vesica.Room("http://127.0.0.1:8443", token) as room:
        room.submit("customers.csv")
        print(room.plan("intersection_cardinality", epsilon="0.5").accuracy)
        print(room.release("intersection_cardinality", epsilon="0.5").shown)

Every refusal is a ``vesica.VesicaError``: what a room refuses is a class of ``vesica.errors``, what goes
wrong on the way one of ``vesica.refusals``. A room's answers are not trusted: see ``exchange.py`` and
``_shape.py``.
"""

from collections.abc import Iterable, Sequence
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
    read_plan,
    read_release,
    read_releases,
    read_room,
    read_submission,
)
from vesica.epsilon import format_epsilon, parse_epsilon
from vesica.errors import AlreadySubmitted, QuestionInvalid, RoomClosed, Unauthenticated
from vesica.exchange import RELEASES_BYTES_MAX, Exchange, parse_address
from vesica.refusals import AgreementMismatch, RoomAnsweredNonsense
from vesica.terms import Statistic
from vesica.tokens import token_sha256

if TYPE_CHECKING:
    import pandas as pd

Epsilon = str | int | Decimal


class Room:
    """A room, as one party sees it. A context manager: leaving it ends the connection, and never closes the
    room.

    url: ``https://…``, or ``http://`` on this machine. token: the party's own; what anybody may ask works
    without. agreement_digest: SHA-256, hex, of the agreement that this party signed up to (``vesica agreement
    check`` prints it); a room that carries out another one is refused before anything is sent. Without it,
    compare ``agreement().digest``.
    """

    def __init__(self, url: str, token: str | None = None, *, agreement_digest: str | None = None) -> None:
        self._exchange = Exchange(parse_address(url), token)
        self._token_sha256 = None if token is None else token_sha256(token)
        self._digest = agreement_digest
        self._agreement: AgreementShown | None = None

    @property
    def has_token(self) -> bool:
        """Whether a token was given."""
        return self._token_sha256 is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Ends the connection; the room goes on."""
        self._exchange.disconnect()

    def agreement(self) -> AgreementShown:
        """The agreement that the room carries out; its digest was recomputed here.

        Raises AgreementMismatch when it is not the expected one.
        """
        if self._agreement is None:
            shown = read_agreement(self._exchange.get("/agreement").document)
            if self._digest is not None and shown.digest != self._digest.lower():
                raise AgreementMismatch(
                    f"the room carries out another agreement (digest {shown.digest}) than yours "
                    f"({self._digest.lower()}); nothing was sent"
                )
            self._agreement = shown
        return self._agreement

    def state(self) -> RoomState:
        """Whether the room is collecting, open or closed, and who has submitted."""
        return read_room(self._exchange.get("/room").document)

    def submit(
        self,
        source: "str | PathLike[str] | BinaryIO | pd.DataFrame",
        *,
        progress: content.Progress | None = None,
    ) -> Submission:
        """Sends this party's one submission: the path of a CSV file, an open binary file, or a DataFrame of
        text.

        The file is not opened before the room was asked whether it would take it. progress: told the bytes
        sent, and of how many (None: not known). What the room rejects it does not keep, and the party may try
        again.

        Raises AddressRefused, AgreementMismatch, Unauthenticated, AlreadySubmitted, RoomClosed,
        SubmissionRejected.
        """
        self._exchange.require_private("the file")
        self._require_welcome()
        if isinstance(source, str | PathLike):
            with content.open_file(Path(source)) as stream:
                return self._upload(content.from_stream(stream), progress)
        if _is_frame(source):
            return self._upload(content.from_frame(source), progress)
        return self._upload(content.from_stream(cast("BinaryIO", source)), progress)

    def plan(self, statistic: str, epsilon: Epsilon | None = None, parties: Sequence[str] | None = None) -> Plan:
        """What a release would cost each party, and how far off it might be. Free; touches no data."""
        return read_plan(self._exchange.post("/plan", _question(statistic, epsilon, parties)).document)

    def release(self, statistic: str, epsilon: Epsilon | None = None, parties: Sequence[str] | None = None) -> Release:
        """One differentially private answer; it costs every party concerned ``epsilon``, unless it was asked
        before.

        epsilon: an exact decimal ("0.5"); None: the agreement's default. parties: a subset of at least two;
        None: all.

        Raises BudgetExceeded (nothing was spent), RoomNotOpen, RoomClosed, QuestionInvalid, Unauthenticated.
        """
        digest = self.agreement().digest
        answer = self._exchange.post("/releases", _question(statistic, epsilon, parties), token=True)
        release = read_release(answer.document, stored=not answer.created)
        if (
            release.statistic != statistic
            or (epsilon is not None and release.epsilon != _exact(epsilon))
            or (parties is not None and set(release.parties) != set(parties))
        ):
            raise RoomAnsweredNonsense("the room answered another question than the one it was asked")
        _require_digest([release], digest)
        return release

    def released(self) -> tuple[Release, ...]:
        """All past releases. Free."""
        digest = self.agreement().digest
        answer = self._exchange.get("/releases", token=True, bytes_max=RELEASES_BYTES_MAX)
        releases = read_releases(answer.document)
        _require_digest(releases, digest)
        return releases

    def release_number(self, number: int) -> Release:
        """One past release. Free."""
        release = read_release(self._exchange.get(f"/releases/{int(number)}", token=True).document, stored=True)
        _require_digest([release], self.agreement().digest)
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
        return read_budgets(self._exchange.get("/budgets", token=True).document)

    def close(self) -> None:
        """Closes the room for all parties: data and keys are destroyed, for good."""
        self._exchange.post("/close", token=True)

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

    def _upload(self, what: content.Content, progress: content.Progress | None) -> Submission:
        chunks: Iterable[bytes] = content.watched(what, progress)
        answer = self._exchange.upload("/submissions", chunks, content.CSV_TYPE, what.length)
        return read_submission(answer.document)


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


def _require_digest(releases: Iterable[Release], digest: str) -> None:
    if any(release.agreement_digest != digest for release in releases):
        raise RoomAnsweredNonsense("a release names another agreement than the one the room showed")
