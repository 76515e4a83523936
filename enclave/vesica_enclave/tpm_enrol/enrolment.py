"""What the TPM does for its enrolment. Every function raises TpmError, or the OSError of the device."""

import secrets
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from vesica_attestation._tpm.commands import PASSWORD, Tpm, sized
from vesica_attestation._tpm.constants import ALG_NULL, ALG_SHA256, RH_ENDORSEMENT, RH_OWNER
from vesica_attestation._tpm.signature import Scheme
from vesica_attestation.tpm.abi import ECC, RSA, AttestationKey, Attribute, parse_public
from vesica_enclave.tpm_enrol.authority import EnrolmentRefused
from vesica_enclave.tpm_enrol.credential import SEED_BYTES, make_credential

# RSA 2048, AES-128: TCG, "EK Credential Profile", 2.1, template L-1, and where its certificate is.
ENDORSEMENT_CERTIFICATE: Final = 0x01C00002
_ENDORSEMENT_POLICY: Final = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
_ENDORSEMENT_ATTRIBUTES: Final = 0x000300B2
_MODULUS_BYTES: Final = 256
ENDORSEMENT_TEMPLATE: Final = (
    struct.pack(">HHI", RSA, ALG_SHA256, _ENDORSEMENT_ATTRIBUTES)
    + sized(_ENDORSEMENT_POLICY)
    + struct.pack(">HHHHHI", 0x0006, 128, 0x0043, ALG_NULL, 8 * _MODULUS_BYTES, 0)  # AES, CFB
    + sized(bytes(_MODULUS_BYTES))
)
ATTESTATION_KEY_ATTRIBUTES: Final = (
    Attribute.FIXED_TPM
    | Attribute.FIXED_PARENT
    | Attribute.SENSITIVE_DATA_ORIGIN
    | Attribute.USER_WITH_AUTH
    | Attribute.NO_DA
    | Attribute.RESTRICTED
    | Attribute.SIGN
)
# ECDSA on P-256: quick to make and to use, and what a verifier gets is short.
ATTESTATION_TEMPLATE: Final = (
    struct.pack(">HHI", ECC, ALG_SHA256, ATTESTATION_KEY_ATTRIBUTES)
    + sized(b"")
    + struct.pack(">HHHHH", ALG_NULL, Scheme.ECDSA, ALG_SHA256, 0x0003, ALG_NULL)
    + sized(b"")
    + sized(b"")
)
_SECRET_BYTES: Final = 32
_NONCE_BYTES: Final = 16
_EVICT_CONTROL, _NV_UNDEFINE_SPACE, _SHUTDOWN = 0x120, 0x122, 0x145
_ACTIVATE_CREDENTIAL, _POLICY_SECRET, _START_AUTH_SESSION = 0x147, 0x151, 0x176
_RH_NULL: Final = 0x40000007
_POLICY_SESSION: Final = 1

# Checks an endorsement key before anything is done for its TPM; raises EnrolmentRefused.
CheckEndorsement = Callable[[rsa.RSAPublicKey], None]


@contextmanager
def proven_key(
    tpm: Tpm, check: CheckEndorsement, template: bytes = ATTESTATION_TEMPLATE
) -> Iterator[tuple[int, AttestationKey]]:
    """An attestation key, with its handle, that was proven to live in the TPM of an accepted endorsement key.

    It is transient: gone after the block. Raises EnrolmentRefused; Refused for a key that no verifier would accept.
    """
    with (
        tpm.primary(RH_ENDORSEMENT, ENDORSEMENT_TEMPLATE) as (endorsement, endorsement_public),
        tpm.primary(RH_ENDORSEMENT, template) as (handle, public),
    ):
        endorsement_key = _modulus(endorsement_public)
        check(endorsement_key)
        key = parse_public(public)
        secret = secrets.token_bytes(_SECRET_BYTES)
        blob, seed = make_credential(endorsement_key, key.name, secret, secrets.token_bytes(SEED_BYTES))
        if not secrets.compare_digest(_activate(tpm, handle, endorsement, blob, seed), secret):
            raise EnrolmentRefused("the TPM does not have the keys that it shows")
        yield handle, key


def install(tpm: Tpm, handle: int, place: int, index: int, certificates: bytes) -> None:
    """Makes a key persistent at ``place``, and writes its certificates to an NV index; what was there is replaced."""
    if tpm.read_public(place) is not None:
        tpm.command(_EVICT_CONTROL, (RH_OWNER, place), struct.pack(">I", place), (PASSWORD,))
    tpm.command(_EVICT_CONTROL, (RH_OWNER, handle), struct.pack(">I", place), (PASSWORD,))
    if tpm.nv_size(index) is not None:
        tpm.command(_NV_UNDEFINE_SPACE, (RH_OWNER, index), b"", (PASSWORD,))
    tpm.nv_define(index, len(certificates))
    tpm.nv_write(index, certificates)


def shut_down(tpm: Tpm) -> None:
    """Tells the TPM that its power goes off."""
    tpm.command(_SHUTDOWN, (), struct.pack(">H", 0))


def _activate(tpm: Tpm, key: int, endorsement: int, blob: bytes, seed: bytes) -> bytes:
    """The secret of a credential. The endorsement key's policy asks for the endorsement hierarchy's authorisation."""
    start = (
        sized(secrets.token_bytes(_NONCE_BYTES))
        + sized(b"")
        + struct.pack(">BHH", _POLICY_SESSION, ALG_NULL, ALG_SHA256)
    )
    session = tpm.command(_START_AUTH_SESSION, (_RH_NULL, _RH_NULL), start, makes=True).handle or 0
    try:
        no_conditions = 3 * sized(b"") + struct.pack(">i", 0)
        tpm.command(_POLICY_SECRET, (RH_ENDORSEMENT, session), no_conditions, (PASSWORD,))
        by_policy = struct.pack(">IHBH", session, 0, 1, 0)  # the session goes on, and is flushed below
        answer = tpm.command(_ACTIVATE_CREDENTIAL, (key, endorsement), sized(blob) + sized(seed), (PASSWORD, by_policy))
        return answer.parameters.sized()
    finally:
        tpm.flush(session)


def _modulus(public: bytes) -> rsa.RSAPublicKey:
    """The endorsement key. All but its modulus must be as asked for."""
    if public[:-_MODULUS_BYTES] != ENDORSEMENT_TEMPLATE[:-_MODULUS_BYTES]:
        raise EnrolmentRefused("the TPM made another endorsement key than it was asked for")
    return rsa.RSAPublicNumbers(65537, int.from_bytes(public[-_MODULUS_BYTES:], "big")).public_key()
