"""Reference values for tests: every kind, and files that they say they were computed from."""

import hashlib

from vesica_attestation.reference_values import (
    COMPUTED_FROM,
    Container,
    ReferenceValues,
    SnpLaunch,
    Source,
    TdxRegisters,
)

KINDS = {
    "confidential_space": Container(bytes([1]) * 32, ("vesica", "serve", "/run/vesica/agreement.toml")),
    "nitro": {index: bytes([2 + index]) * 48 for index in (0, 1, 2)},
    "sev_snp": (SnpLaunch(2, "EPYC-Genoa", bytes([5]) * 48), SnpLaunch(4, "EPYC-Genoa", bytes([6]) * 48)),
    "tdx": TdxRegisters(bytes([7]) * 48, bytes([8]) * 48, bytes([9]) * 48),
    "tpm": {4: bytes([10]) * 32, 11: bytes([11]) * 32, 12: bytes(32), 13: bytes(32)},
    "verity": bytes([12]) * 32,
}


def reference_values(**values):
    """These values, with sources as the kinds need them."""
    needed = {source for kind in values for source in COMPUTED_FROM[kind]}
    sources = {name: Source(f"{name}.bin", len(name), hashlib.sha256(name.encode()).digest()) for name in needed}
    return ReferenceValues(sources=sources, **values)
