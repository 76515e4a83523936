"""A draft of the table ``[tpm]`` from a TPM's quote, taking for the CA whichever certificate the evidence ends in."""

from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256

from vesica_attestation import _pki
from vesica_attestation.draft import Line
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence
from vesica_attestation.tpm.authentic import authenticate
from vesica_attestation.tpm.event_log import UNIFIED_KERNEL_PCR
from vesica_attestation.tpm.policy import LAUNCHED, LOADED, UNIFIED, UNMEASURED

_REBUILD: Final = "build the image yourself and compute it (enclave/<platform>/README.md)."
_CHECKED: Final = {
    4: "Every program that the firmware started: boot loader, unified kernel image, kernel.",
    8: "A boot loader's commands. All zero: there were none.",
    9: "What a boot loader read, or what Linux was given: kernel, initial file system, command line.",
    11: "The sections of a unified kernel image.",
    12: "What such an image was given besides: command line, credentials. All zero: nothing.",
    13: "System extensions. All zero: none.",
}
_OPTIONAL: Final = {
    0: "Firmware, the cloud's. Turn it on where the cloud publishes it; it changes with their updates.",
    7: "Secure boot: whether it is on, and whose keys it trusts.",
}


def draft(evidence: Evidence, at: datetime) -> list[Line]:
    """What a policy would say that accepts this evidence, if the reader trusts the operator of its host.

    Raises Refused.
    """
    chain = evidence.many("certificates")
    if not chain:
        raise Refused(evidence.kind, "chain", "no certificate of the attestation key")
    authority = _pki.certificate(evidence.kind, chain[-1])
    claims = authenticate(evidence, {authority.fingerprint(SHA256())}, at)
    unified = claims.pcrs[UNIFIED_KERNEL_PCR] != UNMEASURED
    wanted = {LAUNCHED, *(UNIFIED if unified else LOADED)}
    allow = Line(
        "allow_trusted_hypervisor",
        True,
        "Accept that nothing keeps the machine's memory from the operator of its host, who can forge this evidence "
        "too. Without this line the policy is refused.",
        off=True,
    )
    return [
        allow,
        Line(
            "ca_certificate_digests",
            [claims.authority.hex()],
            f"The CA that certified the TPM's attestation key: {_pki.subject(evidence.kind, authority)!r}.",
            "SHA-256 of the certificate (DER) that the cloud, or whoever runs the CA, publishes. A CA for anything "
            "else but attestation keys must not be here.",
        ),
        Line(
            "attestation_keys",
            [claims.key.name.hex()],
            "The TPM's key, and so this one machine. Without it, any that this CA certified.",
            "whoever set up the machine, asked in another way.",
            off=True,
        ),
        *(
            Line(str(index), [claims.pcrs[index].hex()], why, _REBUILD, table="pcrs")
            for index, why in _CHECKED.items()
            if index in wanted
        ),
        *(
            Line(str(index), [claims.pcrs[index].hex()], why, table="pcrs", off=True)
            for index, why in _OPTIONAL.items()
        ),
    ]
