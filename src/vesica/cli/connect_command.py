"""``vesica connect``: a local proxy that verifies, pins and seals on behalf of any HTTP client."""

import argparse
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vesica.cli.common import add_command, add_policy, add_url, digest_of_file, policy_of
from vesica.cli.exits import Exit
from vesica.cli.journal_command import add_journal, open_journal
from vesica.refusals import FileUnreadable, PolicyMissing, printable

if TYPE_CHECKING:
    from vesica.connect import Proxy
    from vesica.verified import VerifiedRoom

PORT: Final = 3030
_PORT_MAX: Final = 65_535
_TEXT = """
Verifies a room, and then lets any HTTP client of this machine talk to it: curl, a browser's developer
tools, a program in any language. What goes through is sent to the verified room only, in TLS that is
pinned to its attested key, and a submission is sealed to the room besides. Listens on 127.0.0.1 and on
nothing else; answers to no web page of another origin. Ends with Ctrl-C.

A client sends its party's token with each request, as it would to the room; no token is kept here. Your
journal keeps what a data set was fed to, and the limit that you set there holds here too.
Carried: GET /healthz /agreement /attestation /room /releases /budgets /receipts and POST /submissions
/plan /releases /close. The paths below /psi are not: they know parties by a header that only a proxy in
front of the room may set.

examples:
  vesica connect https://room.example.org --policy policy.toml
  vesica connect https://room.example.org --policy policy.toml --agreement agreement.toml --port 3031
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = add_command(commands, "connect", "a local proxy to a verified room, for any HTTP client", _TEXT)
    add_url(parser)
    add_policy(parser)
    parser.add_argument("--agreement", metavar="FILE", type=Path, help="your copy of the agreement")
    parser.add_argument("--port", metavar="N", type=_port, default=PORT, help="0: a free one (default: %(default)s)")
    add_journal(parser)
    parser.add_argument("--no-journal", action="store_true", help="write nothing down, and hold no limit")
    parser.set_defaults(run=_run)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= _PORT_MAX:
        raise ValueError("not a port")
    return port


def _run(args: argparse.Namespace) -> int:
    from vesica.connect import Bridge, Proxy
    from vesica.verified import verify_room

    policy = policy_of(args)
    if policy is None:
        raise PolicyMissing("a room is verified by your policy, and there is none")
    digest = None if args.agreement is None else digest_of_file(args.agreement)
    first: list[str] = []

    def verify() -> "VerifiedRoom":
        # The first verification settles the agreement: a room that is there later must carry out the same.
        found = verify_room(args.url, policy, agreement_digest=digest or next(iter(first), None))
        first[:] = [found.agreement.digest]
        return found

    bridge = Bridge(verify)
    try:
        proxy = Proxy(bridge, args.port, _tell, None if args.no_journal else open_journal(args))
    except OSError as error:
        bridge.close()
        raise FileUnreadable(f"cannot listen on 127.0.0.1:{args.port}: {error.strerror}") from None
    with proxy:
        _show(bridge.room, proxy, told_agreement=args.agreement is not None)
        _serve(proxy)
    bridge.close()
    return Exit.OK


def _serve(proxy: "Proxy") -> None:
    server = threading.Thread(target=proxy.serve_forever, daemon=True)
    server.start()
    try:
        while server.is_alive():
            server.join(1.0)
    except KeyboardInterrupt:
        proxy.shutdown()


def _tell(line: str) -> None:
    sys.stderr.write(f"vesica: {printable(line, 200)}\n")


def _show(room: "VerifiedRoom", proxy: "Proxy", *, told_agreement: bool) -> None:
    from vesica.cli.screen import Screen

    screen = Screen()
    if room.result.warning is not None:
        screen.line(room.result.warning, "bold red")
    screen.line(f'verified: room "{room.agreement.name}" at {room.address.base}, {room.result.kind}', "bold")
    screen.line(f"agreement {room.agreement.digest}{'' if told_agreement else ': is that the one you signed up to?'}")
    screen.line()
    screen.line("from this machine, with a file my.auth that holds the line `Authorization: Bearer TOKEN`:")
    screen.line(f"  curl {proxy.url}/room")
    screen.line(f"  curl -H @my.auth -F csv_file=@customers.csv {proxy.url}/submissions")
    screen.line(f'  curl -H @my.auth --json \'{{"statistic":"intersection_cardinality"}}\' {proxy.url}/releases')
    screen.line()
    screen.line(f"vesica: connected, on {proxy.url}; Ctrl-C ends it")
    sys.stdout.flush()
