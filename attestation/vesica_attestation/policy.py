"""The appraisal policy: what a relying party accepts. Frozen, and default-deny: what it does not name is refused.

A policy has one table for each kind of evidence that it accepts; a kind without a table is refused. Its digest is in
every attestation result, so that a result tells what it was judged by.
"""

import hashlib
import tomllib
from dataclasses import dataclass
from typing import Final

from vesica_attestation import azure, confidential_space, nitro, sev_snp, tdx, tpm
from vesica_attestation._table import Table
from vesica_attestation.errors import PolicyInvalid

POLICY_BYTES_MAX: Final = 256 * 2**10


@dataclass(frozen=True)
class Policy:
    """Checked terms of appraisal, per kind; None: that kind is refused. digest: SHA-256, hex, of the file's bytes."""

    sev_snp: sev_snp.SevSnpPolicy | None
    tdx: tdx.TdxPolicy | None
    nitro: nitro.NitroPolicy | None
    confidential_space: confidential_space.ConfidentialSpacePolicy | None
    azure: azure.AzurePolicy | None
    tpm: tpm.TpmPolicy | None
    allow_insecure_software: bool
    digest: str


def parse_policy(text: bytes) -> Policy:
    """A policy from the bytes of a ``policy.toml``.

    Raises PolicyInvalid, naming the place. A policy that would refuse everything is an error too: nobody means it.
    """
    if len(text) > POLICY_BYTES_MAX:
        raise PolicyInvalid("the file", f"larger than {POLICY_BYTES_MAX} bytes")
    try:
        root = Table("", tomllib.loads(text.decode("utf-8")))
    except UnicodeDecodeError:
        raise PolicyInvalid("the file", "not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise PolicyInvalid("the file", f"not TOML: {error}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or thousands of brackets
        raise PolicyInvalid("the file", "not a policy: a number or a nesting without bounds") from None
    allow_insecure_software = root.flag("allow_insecure_software")
    policy = Policy(
        sev_snp=sev_snp.read_policy(root.table("sev_snp")) if "sev_snp" in root else None,
        tdx=tdx.read_policy(root.table("tdx")) if "tdx" in root else None,
        nitro=nitro.read_policy(root.table("nitro")) if "nitro" in root else None,
        confidential_space=(
            confidential_space.read_policy(root.table("confidential_space")) if "confidential_space" in root else None
        ),
        azure=azure.read_policy(root.table("azure")) if "azure" in root else None,
        tpm=tpm.read_policy(root.table("tpm")) if "tpm" in root else None,
        allow_insecure_software=allow_insecure_software,
        digest=hashlib.sha256(text).hexdigest(),
    )
    root.nothing_else()
    kinds = (policy.sev_snp, policy.tdx, policy.nitro, policy.confidential_space, policy.azure, policy.tpm)
    if not any(kinds) and not allow_insecure_software:
        raise PolicyInvalid("the file", "accepts no kind of evidence; name at least one, such as [sev_snp]")
    return policy
