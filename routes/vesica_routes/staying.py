"""What the server offers the app beside HTTP: to let a connection stay, however many come, while a submission is read.

An ASGI extension (ASGI specification, "Extensions"); an app without such a server does without.
"""

from typing import Final

from fastapi import Request

EXTENSION: Final = "vesica.stay"


def let_stay(request: Request) -> None:
    """The request is a party's submission: its connection is not to make room for others until it is answered."""
    offered = request.scope.get("extensions", {}).get(EXTENSION)
    if offered is not None:
        offered["stay"]()
