"""Azure confidential virtual machines: a vTPM's quote, and AMD's or Intel's report for the paravisor that keeps it.

Parts: "hcl_report", as read from NV index 0x01400001; "quote_message" and "quote_signature", TPM2_Quote by the key
0x81000003 over all 24 SHA-256 PCRs, RSASSA with SHA-256; "pcrs", their 24 values. For AMD also "certificates", the
VCEK first; for Intel also "td_quote" and "collateral". Nothing else.

What binds what:

* The hardware report (AMD's at VMPL 0, Intel's of the TD) is the paravisor's: Microsoft's code, which the launch
  digest names, and which stands between guest and hardware. Its report data is the SHA-256 of the runtime claims, and
  they name the vTPM's attestation key. That, and the paravisor's honesty, makes it a key that neither guest nor host
  holds.
* The quote, by that key, says two things of one moment: what was measured at boot (PCRs), and the extra data that the
  guest gave. So the extra data alone binds the room's keys and the nonce to what booted, and must always be right. A
  TPM may take as few as 34 bytes there (TPM2B_DATA, where SHA-256 is its largest digest), so it is the SHA-256 of the
  64 bytes of report data: ``extra_data``.
* "user-data" in the runtime claims is the guest's too: it writes NV index 0x01400002, and the paravisor then makes a
  new hardware report. It says nothing of what booted, for any guest under the same paravisor may write anything: alone
  it proves nothing. Without it, though, the hardware report may be from any day since the attestation key was made,
  from before the machine moved to a chip, or its firmware fell to a TCB, that the policy refuses. So it must be the 64
  bytes of report data themselves, unless the policy says ``allow_stale_hardware_report``.

Not bound: what the guest runs after boot, unless it is measured into a PCR (an image with verity and no shell). What a
genuine guest's administrator can do, this evidence cannot exclude.
"""

from datetime import datetime

from vesica_attestation._tpm.quote import extra_data
from vesica_attestation.azure.appraise import appraise
from vesica_attestation.azure.authentic import authenticate
from vesica_attestation.azure.policy import AzurePolicy, read_policy
from vesica_attestation.evidence import Evidence
from vesica_attestation.result import Proved

__all__ = ["AzurePolicy", "extra_data", "read_policy", "verify"]


def verify(evidence: Evidence, report_data: bytes, policy: AzurePolicy, at: datetime) -> Proved:
    """Verifies Azure evidence: parse, authenticate, appraise, each layer after the one that vouches for it.

    report_data: the 64 bytes that it must be bound to. at: the time to verify at, with a time zone.

    Raises Refused (see ``authentic.authenticate`` and ``appraise.appraise`` for the checks).
    """
    claims = authenticate(evidence, at)
    return appraise(claims, policy, extra_data(report_data), report_data, at)
