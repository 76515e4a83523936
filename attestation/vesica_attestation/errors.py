"""How a verifier says no, and how an attester says that it cannot."""

from typing import ClassVar


class Refused(Exception):
    """Evidence that was not accepted. ``check`` names the check that failed, for ever the same word; there are no
    flags.

    kind: of evidence, or "policy". detail: for the reader; it may quote claims of the evidence (they are public),
    never keys.
    """

    code: ClassVar[str] = "attestation-refused"

    def __init__(self, kind: str, check: str, detail: str) -> None:
        super().__init__(f"{kind}: {check}: {detail}")
        self.kind = kind
        self.check = check
        self.detail = detail


class PolicyInvalid(Exception):
    """An appraisal policy that cannot be used as written. ``place`` says where in the file."""

    code: ClassVar[str] = "policy-invalid"

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place}: {why}")
        self.place = place
        self.detail = why


class AttesterUnavailable(Exception):
    """This machine cannot produce the kind of evidence that was asked for. Never answered by falling back to
    another.
    """

    code: ClassVar[str] = "attester-unavailable"

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
