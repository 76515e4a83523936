"""Certificates one behind the other, as NV memory and files hold them. Nothing is checked: that is for a verifier."""

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_PEM: Final = b"-----BEGIN"
_DER_SEQUENCE: Final = b"\x30\x82"  # a certificate is longer than 255 bytes, and shorter than 65536
_DER_HEADER_BYTES: Final = 4


def certificates_in(data: bytes) -> list[bytes]:
    """DER of each certificate in PEM or DER text, one behind the other. What NV memory is padded with is left out.

    Raises ValueError.
    """
    if data.lstrip().startswith(_PEM):
        return [found.public_bytes(Encoding.DER) for found in x509.load_pem_x509_certificates(data)]
    found = []
    while data.startswith(_DER_SEQUENCE):
        size = _DER_HEADER_BYTES + int.from_bytes(data[2:_DER_HEADER_BYTES], "big")
        if size > len(data):
            raise ValueError("a certificate that is cut off")
        found.append(data[:size])
        data = data[size:]
    if data.strip(b"\0\xff"):
        raise ValueError("something else than certificates")
    return found
