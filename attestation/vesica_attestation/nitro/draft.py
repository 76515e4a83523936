"""A draft of the table ``[nitro]`` from a document; its signature is not checked."""

from datetime import datetime
from typing import Final

from vesica_attestation.draft import Line
from vesica_attestation.evidence import Evidence
from vesica_attestation.nitro import abi
from vesica_attestation.nitro.policy import UNMEASURED

_BUILD: Final = "build the image yourself (nitro-cli build-enclave prints PCR0, PCR1, PCR2) and compare."
_OPTIONAL: Final = {
    1: ("kernel and boot files.", _BUILD),
    2: ("the application.", _BUILD),
    3: ("the IAM role of the parent instance.", "whoever owns the AWS account tells the role's ARN; hash it."),
    4: ("the parent instance, one machine.", "the AWS console of whoever runs it, asked in another way."),
    8: ("who signed the image.", "the signer's certificate, from the signer."),
}


def draft(evidence: Evidence, at: datetime) -> list[Line]:
    """What a policy would say that accepts this document.

    Raises Refused.
    """
    del at
    pcrs = abi.parse(evidence.part("document")).payload.pcrs
    debug = any(pcrs.get(index, UNMEASURED) == UNMEASURED for index in (0, 1, 2))
    why = "PCR0: the enclave's image."
    if debug:
        why += " All zero here: debug mode. Its host reads its memory, and no policy should accept it."
    lines = [
        Line("launch_digests", [pcrs.get(0, UNMEASURED).hex()], why, _BUILD, off=debug),
        Line("max_age_seconds", 300, "how old a document may be. Not from the evidence: a usual value."),
    ]
    for index, (meaning, confirm) in _OPTIONAL.items():
        value = pcrs.get(index, UNMEASURED)
        if value != UNMEASURED:
            what = f"PCR{index}: {meaning} Without it, any is accepted."
            lines.append(Line(f"pcr{index}", [value.hex()], what, confirm, off=index > 2))  # noqa: PLR2004 (PCR2)
    return lines
