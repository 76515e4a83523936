"""A secret for a TPM that has two keys: TPM2_MakeCredential, done outside of any TPM.

Source: TCG, "TPM 2.0 Library", part 1, 24 "Credential Protection", 11.4.10.2 (KDFa), annex B.10.4 (OAEP).
"""

import hmac
import struct
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

SEED_BYTES: Final = 32
_AES_BITS: Final = 128
_HMAC_BITS: Final = 256
_IV: Final = bytes(16)


def make_credential(endorsement: rsa.RSAPublicKey, name: bytes, secret: bytes, seed: bytes) -> tuple[bytes, bytes]:
    """``secret``, for the TPM that has both the endorsement key and an object called ``name``.

    endorsement: with AES-128 and SHA-256, as the TCG's default template has it. seed: SEED_BYTES random ones. Gives the
    contents of a TPM2B_ID_OBJECT and of a TPM2B_ENCRYPTED_SECRET.
    """
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed of {SEED_BYTES} bytes")
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"IDENTITY\0")
    encrypted_seed = endorsement.encrypt(seed, oaep)
    encryptor = Cipher(algorithms.AES(_kdf(seed, b"STORAGE\0", name, _AES_BITS)), CFB(_IV)).encryptor()
    identity = encryptor.update(struct.pack(">H", len(secret)) + secret) + encryptor.finalize()
    integrity = hmac.digest(_kdf(seed, b"INTEGRITY\0", b"", _HMAC_BITS), identity + name, "sha256")
    return struct.pack(">H", len(integrity)) + integrity + identity, encrypted_seed


def _kdf(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """KDFa, for no more than one block of SHA-256."""
    return hmac.digest(key, struct.pack(">I", 1) + label + context + struct.pack(">I", bits), "sha256")[: bits // 8]
