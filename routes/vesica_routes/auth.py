"""Who is asking: by bearer token, or (only if the room was started so) by the header of an authenticating proxy."""

import hmac

from fastapi import Request

from vesica.agreement import Agreement
from vesica.errors import Unauthenticated
from vesica.events import Event, emit
from vesica.tokens import token_sha256

_SCHEME = "bearer"
_OWN_SITE = ("none", "same-origin")


def party_of(request: Request, agreement: Agreement, trusted_header: str | None) -> str:
    """The party that sent a request.

    Raises Unauthenticated, the same for every reason. With a trusted header, a request that has it is the party's that
    it names, and its token, if any, must be of that party too.
    """
    by_token = _by_token(request.headers.getlist("authorization"), agreement)
    named = request.headers.getlist(trusted_header) if trusted_header is not None else []
    if named:
        by_header = named[0] if len(named) == 1 and named[0] in agreement.party_names() else None
        if request.headers.get("sec-fetch-site", "none") not in _OWN_SITE:
            by_header = None  # the proxy knows whose browser it is; another site's page made it ask
        if by_header is not None and (by_token == by_header or not request.headers.getlist("authorization")):
            return by_header
    elif by_token is not None:
        return by_token
    emit(Event.AUTHENTICATION_FAILED)
    raise Unauthenticated("send your party's token: Authorization: Bearer TOKEN")


def party_of_header(request: Request, agreement: Agreement, trusted_header: str) -> str:
    """The party that the trusted header names; for the paths that take nothing else.

    Raises Unauthenticated.
    """
    if not request.headers.getlist(trusted_header):
        emit(Event.AUTHENTICATION_FAILED)
        raise Unauthenticated(f"No {trusted_header} provided.")
    return party_of(request, agreement, trusted_header)


def _by_token(headers: list[str], agreement: Agreement) -> str | None:
    if len(headers) != 1:
        return None
    scheme, _, token = headers[0].partition(" ")
    if scheme.lower() != _SCHEME:
        return None
    sent = token_sha256(token.strip())
    found = None
    for party in agreement.parties:  # all of them, always: how long it takes tells nothing
        if hmac.compare_digest(sent, party.token_sha256):
            found = party.name
    return found
