"""Is the room alive? For a container's health check, where there is no curl. It proves nothing about who answers.

python3 -m vesica_enclave.healthcheck https://127.0.0.1:8443/healthz     exit status 0, or 1 and a line on stderr
"""

import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Final

_TIMEOUT_SECONDS: Final = 4.0
_HTTP_OK: Final = 200


def main(arguments: Sequence[str]) -> int:
    """Asks the one address that it is given."""
    if len(arguments) != 1 or not arguments[0].startswith(("https://", "http://")):
        sys.stderr.write("usage: python3 -m vesica_enclave.healthcheck https://127.0.0.1:8443/healthz\n")
        return 2
    # The certificate is made at start and signed by nobody; trust in it comes from evidence, and none is asked for.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(arguments[0], timeout=_TIMEOUT_SECONDS, context=context) as answer:  # noqa: S310
            if answer.status == _HTTP_OK:
                return 0
            why = f"status {answer.status}"
    except (urllib.error.URLError, TimeoutError, ssl.SSLError, OSError) as error:
        why = str(error)
    sys.stderr.write(f"no health at {arguments[0]}: {why}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
