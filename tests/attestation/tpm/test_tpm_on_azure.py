"""Real quotes of Azure's vTPMs: the shared code reads them, and they name their key as this kind wants it."""

import struct

import pytest

from support.azure_evidence import SNP_FOLDER, TDX_FOLDER, real
from support.tpm_evidence import ATTRIBUTES, NULL, RSASSA, SHA256, sized
from vesica_attestation._tpm.quote import parse_quote
from vesica_attestation._tpm.signature import Scheme, Signature, require_signed
from vesica_attestation.azure.abi import parse_hcl, parse_runtime_claims
from vesica_attestation.evidence import Kind
from vesica_attestation.tpm.abi import parse_public


@pytest.mark.parametrize("folder", [SNP_FOLDER, TDX_FOLDER])
def test_a_real_quote_names_the_restricted_primary_key_that_signed_it_and_no_other(folder):
    evidence = real(folder)
    quote = parse_quote(Kind.TPM, evidence.part("quote_message"))
    modulus = parse_runtime_claims(parse_hcl(evidence.part("hcl_report")).variable_data).modulus

    def public(attributes: int) -> bytes:
        head = struct.pack(">HHI", 1, SHA256, attributes) + sized(b"")
        return head + struct.pack(">HHHHI", NULL, RSASSA, SHA256, 2048, 0) + sized(modulus.to_bytes(256, "big"))

    key = parse_public(public(ATTRIBUTES))
    assert key.hierarchy(quote.signer) == "endorsement"
    require_signed(Kind.TPM, key.key, Signature(Scheme.RSASSA, evidence.part("quote_signature")), quote.signed)
    assert parse_public(public(ATTRIBUTES & ~(1 << 6))).hierarchy(quote.signer) is None
    assert quote.reset_count > 0
