"""Virtual machines with a measured boot and a vTPM, and nothing more: what every cloud has today.

What it proves: a TPM that the pinned CA vouches for says what booted, and that what booted asked for this quote. What
it does not prove: that anything protects the machine's memory, or that the TPM is honest. A vTPM is a program of the
host. Whoever operates the host reads the memory of the machine, and can have the vTPM sign any PCRs. So this kind is
for parties who trust the operator of the host, and a policy must say so: ``allow_trusted_hypervisor = true``.

Parts: "quote_message" (TPMS_ATTEST) and "quote_signature" (TPMT_SIGNATURE), TPM2_Quote over all 24 SHA-256 PCRs;
"pcrs", their 24 values; "attestation_key", its TPMT_PUBLIC; "certificates", DER, that key's first, the pinned CA's
last; "event_log", optional, as Linux shows it in binary_bios_measurements. Nothing else.

What binds what:

* The CA's certificate is one that the policy names; there is no vendor root. The chain from it ends in a certificate
  of the attestation key. The CA must have made sure that this key is restricted and lives in a TPM (make and activate
  credential): from outside nobody can see that. A key that is not restricted signs whatever its holder writes.
* A restricted key signs what begins with the TPM's magic only when the TPM itself made it. So the quote is of that
  TPM: what was measured at boot (PCRs), and the extra data that the guest gave, which is the SHA-256 of the report
  data.
* The quote names its key: by its qualified name, which is a digest of the key's public area, attributes and all, and
  of its hierarchy. So the public area is the TPM's own word too. The key must be a primary key of the endorsement or
  the owner's hierarchy.
* The event log is signed by nobody. Its events must add up to the quoted PCRs; then their digests are what was
  measured. Types and descriptions of events are not measured, and not read.

Not bound: what the guest runs after boot, unless the image holds it (a verity root file system and no shell).
"""

from datetime import datetime

from vesica_attestation._tpm.quote import extra_data
from vesica_attestation.evidence import Evidence
from vesica_attestation.result import Proved
from vesica_attestation.tpm.appraise import WARNING, appraise
from vesica_attestation.tpm.authentic import authenticate
from vesica_attestation.tpm.policy import TpmPolicy, read_policy

__all__ = ["WARNING", "TpmPolicy", "read_policy", "verify"]


def verify(evidence: Evidence, report_data: bytes, policy: TpmPolicy, at: datetime) -> Proved:
    """Verifies a TPM's quote: parse, authenticate up to a CA of the policy, appraise.

    report_data: the 64 bytes that it must be bound to. at: the time to verify at, with a time zone.

    Raises Refused (see ``authentic.authenticate`` and ``appraise.appraise`` for the checks).
    """
    claims = authenticate(evidence, policy.ca_certificate_digests, at)
    return appraise(claims, policy, extra_data(report_data))
