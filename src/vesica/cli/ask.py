"""The questions of ``vesica agreement new`` on a terminal.

The agreement's own checks judge each answer, at once.
"""

import sys
from collections.abc import Callable

from vesica.agreement_file import Draft, PartyDraft, write
from vesica.errors import AgreementInvalid
from vesica.limits import PARTIES_MAX, PARTIES_MIN
from vesica.terms import Normaliser

# Stand-ins for what was not asked yet, so that each answer can be checked as part of a whole agreement.
_OTHERS = (PartyDraft("stand-in 1", "100", "1" * 64), PartyDraft("stand-in 2", "100", "2" * 64))


def ask_draft() -> Draft:
    """Asks for an agreement. Ends with KeyboardInterrupt when whoever answers goes away."""
    sys.stderr.write("An agreement, in a few questions. Ctrl-C leaves without writing anything.\n\n")
    name = _ask("what is the room called?", lambda text: write(Draft(text, _OTHERS)))
    parties: list[PartyDraft] = []
    while len(parties) < PARTIES_MAX:
        ordinal = len(parties) + 1
        enough = len(parties) >= PARTIES_MIN
        party = _ask_party(
            name, parties, f"party {ordinal}: name{' (none: no more)' if enough else ''}?", may_end=enough
        )
        if party is None:
            break
        parties.append(party)
    return _ask_rest(Draft(name, tuple(parties)))


def _ask_party(room: str, known: list[PartyDraft], question: str, *, may_end: bool) -> PartyDraft | None:
    def checked(party: PartyDraft) -> None:
        write(Draft(room, [*known, party, *_OTHERS[: max(0, PARTIES_MIN - 1 - len(known))]]))

    def checked_name(text: str) -> None:
        if text or not may_end:
            checked(PartyDraft(text, "100", "3" * 64))

    name = _ask(question, checked_name)
    if not name:
        return None
    epsilon = _ask(
        f"{name}: limit on all releases about its records, epsilon (0.5 to 4 is usual)?",
        lambda text: checked(PartyDraft(name, text, "3" * 64)),
    )
    sha256 = _ask(
        f"{name}: token_sha256, which it gets from `vesica token`?",
        lambda text: checked(PartyDraft(name, epsilon, text)),
    )
    return PartyDraft(name, epsilon, sha256)


def _ask_rest(draft: Draft) -> Draft:
    def with_columns(text: str) -> Draft:
        return Draft(draft.name, draft.parties, columns=_words(text))

    columns = with_columns(
        _ask("key columns, with commas between (none: the file's only column)?", lambda text: write(with_columns(text)))
    ).columns

    def with_normalisers(text: str) -> Draft:
        words = _words(text)
        return Draft(
            draft.name,
            draft.parties,
            columns=columns,
            normalise=dict.fromkeys(columns or ("",), words) if words else {},
        )

    words = _ask(
        f"what is done to values before they are compared, in order ({', '.join(Normaliser)}; none: nothing)?",
        lambda text: write(with_normalisers(text)),
    )
    chosen = with_normalisers(words)

    def with_default(text: str) -> Draft:
        return Draft(chosen.name, chosen.parties, chosen.columns, chosen.normalise, epsilon_default=text or None)

    default = _ask(
        "what does a release cost when nobody says (none: always say)?", lambda text: write(with_default(text))
    )
    return with_default(default)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _ask(question: str, check: Callable[[str], object]) -> str:
    while True:
        sys.stderr.write(f"{question} ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise KeyboardInterrupt
        answer = line.strip()
        try:
            check(answer)
        except AgreementInvalid as error:
            sys.stderr.write(f"  that does not work: {error.detail}\n")
        else:
            return answer
