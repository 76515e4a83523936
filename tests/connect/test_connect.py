"""``vesica connect``: any HTTP client of this machine, one verified room, and nothing else."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from support.attested import attested_room, policy
from support.server import agreement_text, bearer, party_token
from vesica.connect import Bridge, Proxy
from vesica.epsilon import parse_epsilon
from vesica.errors import VesicaError
from vesica.journal import Journal
from vesica.journal import State as EntryState
from vesica.sealed import CHUNK_BYTES
from vesica.verified import verify_room

TEXT = agreement_text({"alice": "1", "bob": "1"})
CSV = b"id\n" + b"".join(b"row-%d\n" % i for i in range(5_000))


@contextlib.contextmanager
def connected(room, journal=None):
    """A proxy in this process. told: what it would print."""
    bridge = Bridge(lambda: verify_room(room.url, policy()))
    told: list[str] = []
    with Proxy(bridge, 0, told.append, journal) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        proxy.heard = told
        try:
            yield proxy
        finally:
            proxy.shutdown()
            bridge.close()


@pytest.fixture(scope="module")
def room():
    with attested_room(TEXT) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(room):
    with connected(room) as running:
        yield running


def submitted(url: str, **terms: object) -> set[str]:
    return {party["name"] for party in httpx.get(url + "/room", **terms).json()["parties"] if party["submitted"]}


def raw(proxy: Proxy, sent: bytes, *, end: bool = False) -> bytes:
    """Bytes to the proxy, and all that comes back. end: half-close after sending."""
    with socket.create_connection(("127.0.0.1", proxy.server_port), timeout=10) as sock:
        sock.sendall(sent)
        if end:
            sock.shutdown(socket.SHUT_WR)
        got = b""
        with contextlib.suppress(ConnectionError):
            while piece := sock.recv(2**16):
                got += piece
    return got


def head(proxy: Proxy, line: str, *headers: str) -> bytes:
    return "\r\n".join([line, f"Host: 127.0.0.1:{proxy.server_port}", *headers, "", ""]).encode()


def code(answer: bytes) -> tuple[int, str]:
    first, _, rest = answer.partition(b"\r\n")
    return int(first.split()[1]), json.loads(rest.partition(b"\r\n\r\n")[2])["code"]


def test_what_anybody_may_ask_is_passed_on(proxy, room):
    for path in ("/healthz", "/agreement", "/room", "/attestation?nonce=" + "ab" * 32):
        assert httpx.get(proxy.url + path).json() == httpx.get(room.url + path, verify=False).json()
    answer = httpx.get(proxy.url + "/budgets")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert httpx.get(proxy.url + "/budgets", headers=bearer("alice")).status_code == 200


def test_submissions_arrive_sealed_as_a_body_and_as_a_form_and_a_release_follows(tmp_path):
    (tmp_path / "list.csv").write_bytes(CSV)
    with attested_room(TEXT) as room, connected(room) as proxy:
        sealed_types: list[str] = []
        send = proxy.bridge.send
        proxy.bridge.send = lambda out: (sealed_types.append(out.headers.get("Content-Type", "")), send(out))[1]
        auth = f"Authorization: Bearer {party_token('alice')}"
        words = ["curl", "-sS", "-H", auth, "-F", f"csv_file=@{tmp_path / 'list.csv'}", proxy.url + "/submissions"]
        form = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
        assert (form["party"], form["rows"]) == ("alice", 5_000)
        headers = {**bearer("bob"), "Content-Type": "text/csv"}
        body = httpx.post(proxy.url + "/submissions", content=CSV, headers=headers)
        assert (body.status_code, body.json()["rows"]) == (201, 5_000)
        assert sealed_types == ["application/vnd.vesica.hpke"] * 2
        assert submitted(proxy.url) == {"alice", "bob"}
        question = {"statistic": "intersection_cardinality", "epsilon": "1"}
        answer = httpx.post(proxy.url + "/releases", json=question, headers=bearer("alice"), timeout=60)
        assert answer.status_code == 201
        assert abs(answer.json()["value"] - 5_000) < 100
        assert httpx.get(proxy.url + "/releases/1", headers=bearer("bob")).json() == answer.json()
        assert "POST /submissions: 201" in proxy.heard
        assert party_token("alice") not in "".join(proxy.heard)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 3, CHUNK_BYTES, CHUNK_BYTES + 1, 10 * CHUNK_BYTES])
def test_a_refused_file_is_refused_by_the_room_and_may_be_sent_again(proxy, room, size):
    """Chunked, so that its length is not known; of a header that the room refuses."""
    headers = {**bearer("bob"), "Content-Type": "text/csv"}
    answer = httpx.post(proxy.url + "/submissions", content=iter([b"x" * size]), headers=headers)
    assert answer.status_code == 422, answer.text
    assert "bob" not in submitted(room.url, verify=False)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "localhost", "127.0.0.1:1", "[::1]:3030", "rebound.example:{port}", ""]
)
def test_another_host_is_refused(proxy, host):
    name = host.format(port=proxy.server_port)
    assert code(raw(proxy, f"GET /room HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())) == (421, "connect-refused")


def test_no_host_and_two_hosts_are_refused(proxy):
    own = f"Host: 127.0.0.1:{proxy.server_port}"
    assert code(raw(proxy, b"GET /room HTTP/1.1\r\n\r\n"))[0] == 421
    assert code(raw(proxy, head(proxy, "GET /room HTTP/1.1", own)))[0] == 421
    assert raw(proxy, f"GET /room HTTP/1.1\r\n{own}\r\nConnection: close\r\n\r\n".encode()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "header",
    ["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"],
)
def test_a_page_of_another_origin_is_refused_and_told_nothing(proxy, header):
    for line in ("GET /room HTTP/1.1", "POST /close HTTP/1.1"):
        answer = raw(proxy, head(proxy, line, header, f"Authorization: Bearer {party_token('alice')}"))
        assert code(answer) == (403, "connect-refused")
        assert b"access-control" not in answer.lower()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("CONNECT room.example:443 HTTP/1.1", 501),
        ("GET http://room.example/room HTTP/1.1", 404),
        ("GET http://127.0.0.1:3030/room HTTP/1.1", 404),
        ("OPTIONS * HTTP/1.1", 501),
        ("PUT /submissions HTTP/1.1", 501),
        ("DELETE /room HTTP/1.1", 501),
        ("GET /submissions HTTP/1.1", 405),
        ("POST /room HTTP/1.1", 405),
        ("GET /../room HTTP/1.1", 404),
        ("GET /room?x=1 HTTP/1.1", 404),
        ("GET /attestation?nonce=xyz HTTP/1.1", 404),
        ("GET /openapi.json HTTP/1.1", 404),
        ("POST /psi/submit_list HTTP/1.1", 404),
        ("GET /psi/compare HTTP/1.1", 404),
        ("GET /room", 421),
        ("nonsense", 400),
    ],
)
def test_only_what_is_listed_is_carried(proxy, line, status):
    answer = raw(proxy, head(proxy, line), end=True)
    if line.endswith("/room") or line == "nonsense":  # HTTP/0.9 has no status line
        assert b"HTTP/1.1 200" not in answer
        return
    assert code(answer)[0] == status


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Content-Length: +5",),
        ("Content-Length: 5_0",),
    ],
)
def test_a_body_whose_length_is_told_in_two_ways_is_refused(proxy, headers):
    answer = raw(proxy, head(proxy, "POST /plan HTTP/1.1", *headers) + b"12345")
    assert code(answer) == (400, "request-invalid")


def test_a_body_of_a_get_is_refused(proxy):
    assert code(raw(proxy, head(proxy, "GET /room HTTP/1.1", "Content-Length: 1") + b"x"))[0] == 400


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_a_file_that_is_cut_off_is_never_taken_for_a_whole_one(room, proxy, framing):
    auth = f"Authorization: Bearer {party_token('bob')}"
    sent = b"id\nrow-1\n" if "Length" in framing else b"9\r\nid\nrow-1\n\r\n"
    answer = raw(
        proxy, head(proxy, "POST /submissions HTTP/1.1", auth, framing, "Content-Type: text/csv") + sent, end=True
    )
    assert code(answer) == (400, "upload-incomplete")
    assert "bob" not in submitted(room.url, verify=False)


def test_a_form_that_is_cut_off_is_never_taken_for_a_whole_one(room, proxy):
    head_of_part = b'--b\r\nContent-Disposition: form-data; name="csv_file"; filename="f"\r\n\r\nid\nrow-1\n'
    headers = {**bearer("bob"), "Content-Type": "multipart/form-data; boundary=b"}
    answer = httpx.post(proxy.url + "/submissions", content=head_of_part, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "upload-incomplete")
    assert "bob" not in submitted(room.url, verify=False)


@pytest.mark.parametrize("kind", ["application/json", "application/vnd.vesica.hpke", "text/csv; charset=utf-16"])
def test_other_bodies_are_no_submission(proxy, kind):
    answer = httpx.post(proxy.url + "/submissions", content=CSV, headers={**bearer("bob"), "Content-Type": kind})
    assert answer.status_code == 415


@pytest.mark.parametrize("token", [None, "", "Bearer", "Basic abc", "Bearer nobody", "Bearer a b", "Bearer ä"])
def test_a_submission_without_a_partys_token_does_not_reach_the_room(proxy, token):
    headers = [("Content-Type", "text/csv"), *([("Authorization", token.encode())] if token is not None else [])]
    before = len(proxy.heard)
    answer = httpx.post(proxy.url + "/submissions", content=CSV, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    until = time.monotonic() + 10
    while len(proxy.heard) == before and time.monotonic() < until:  # it is noted after the answer has left
        time.sleep(0.01)
    assert len(proxy.heard) == before + 1


def test_a_client_that_waits_for_100_continue_is_told_no_before_it_sends(proxy):
    expect = ("Expect: 100-continue", "Content-Length: 1000000", "Content-Type: text/csv")
    answer = raw(proxy, head(proxy, "POST /submissions HTTP/1.1", *expect), end=True)
    assert b"100 Continue" not in answer
    assert code(answer)[0] == 401


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(proxy):
    auth = f"Authorization: Bearer {party_token('bob')}"
    with socket.create_connection(("127.0.0.1", proxy.server_port), timeout=10) as sock:
        sock.sendall(head(proxy, "POST /submissions HTTP/1.1", auth, "Expect: 100-continue", "Content-Length: 4"))
        assert sock.recv(2**16).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"no\n\n")
        assert b" 422 " in sock.recv(2**16)


def test_several_clients_at_once(proxy):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: httpx.get(proxy.url + "/room").status_code, range(40)))
    assert answers == [200] * 40


def test_a_request_after_another_on_one_connection(proxy):
    with httpx.Client() as client:
        for _ in range(3):
            assert client.get(proxy.url + "/room").status_code == 200
            plan = client.post(proxy.url + "/plan", json={"statistic": "intersection_cardinality", "epsilon": "0.5"})
            assert plan.status_code == 200


def test_it_listens_on_loopback_only(proxy):
    assert proxy.server_address[0] == "127.0.0.1"


def test_a_room_that_was_started_again_gets_nothing():
    port = free_port()
    with attested_room(TEXT, port=port) as room:
        first = connected(room)
        proxy = first.__enter__()
        assert httpx.get(proxy.url + "/room").status_code == 200
    with attested_room(TEXT, port=port):
        headers = {**bearer("alice"), "Content-Type": "text/csv"}
        answer = httpx.post(proxy.url + "/submissions", content=CSV, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (502, "room-replaced")
        assert submitted(f"https://127.0.0.1:{port}", verify=False) == set()
    answer = httpx.get(proxy.url + "/room")
    assert (answer.status_code, answer.json()["code"]) == (502, "room-unreachable")
    first.__exit__(None, None, None)


def test_the_same_room_is_found_again_after_its_connections_broke(room):
    with connected(room) as proxy:
        assert httpx.get(proxy.url + "/room").status_code == 200
        send, failures = proxy.bridge._send, [httpx.ConnectError("gone")]

        def once(outgoing):
            if failures:
                raise failures.pop()
            return send(outgoing)

        proxy.bridge._send = once
        assert httpx.get(proxy.url + "/room").status_code == 200


def test_the_journal_is_kept_and_its_limit_holds(tmp_path):
    journal = Journal(tmp_path / "journal")
    headers = {**bearer("alice"), "Content-Type": "text/csv"}
    with attested_room(TEXT) as room, connected(room, journal) as proxy:
        assert httpx.post(proxy.url + "/submissions", content=b"name\n", headers=headers).status_code == 422
        assert httpx.post(proxy.url + "/submissions", content=CSV, headers=headers).status_code == 201
    assert [entry.state for entry in journal.entries()] == [EntryState.REFUSED, EntryState.ACCEPTED]
    journal.set_limit(parse_epsilon("1.5"))
    with attested_room(TEXT) as room, connected(room, journal) as proxy:
        answer = httpx.post(proxy.url + "/submissions", content=CSV, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "data-set-limit-reached")
        assert submitted(room.url, verify=False) == set()


def test_memory_does_not_grow_with_the_file(tmp_path):
    """150 MB through the command; the room refuses the last line, and the proxy has never held more than a little."""
    line = b"%015d\n" * 4096 % tuple(range(4096))
    with attested_room(TEXT) as room, command(room, tmp_path) as (url, process):
        httpx.get(url + "/room")
        before = resident(process.pid)
        pieces = (line for _ in range(2300))
        headers = {**bearer("alice"), "Content-Type": "text/csv"}
        answer = httpx.post(url + "/submissions", content=pieces, headers=headers, timeout=120)
        assert answer.status_code == 422
        assert resident(process.pid) - before < 30 * 2**20


def resident(pid: int) -> int:
    """The most that a process ever held, in bytes."""
    with Path(f"/proc/{pid}/status").open() as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@contextlib.contextmanager
def command(room, folder):
    words = ["connect", room.url, "--policy", str(room.folder / "policy.toml"), "--port", "0"]
    words += ["--journal", str(folder / "journal")]
    process = subprocess.Popen([sys.executable, "-m", "vesica", *words], stdout=subprocess.PIPE, text=True)
    try:
        text = ""
        while "connected, on " not in text:
            line = process.stdout.readline()
            assert line, text
            text += line
        process.startup = text
        yield text.rpartition("connected, on ")[2].partition(";")[0], process
    finally:
        process.kill()
        process.communicate()


def test_the_command_says_what_it_verified_where_it_listens_and_how_to_use_it(room, tmp_path):
    with command(room, tmp_path) as (url, process):
        assert "INSECURE: software evidence" in process.startup
        assert f"curl {url}/room" in process.startup
        assert "is that the one you signed up to?" in process.startup
        assert httpx.get(url + "/room").status_code == 200
        process.send_signal(2)
        assert process.wait(10) == 0


def test_a_port_that_is_taken_is_said(room, proxy):
    words = ["connect", room.url, "--policy", str(room.folder / "policy.toml"), "--port", str(proxy.server_port)]
    done = subprocess.run([sys.executable, "-m", "vesica", *words], capture_output=True, check=False)
    assert done.returncode == 3
    assert b"cannot listen" in done.stderr


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_without_a_verified_room_there_is_no_proxy():
    def refuse():
        raise VesicaError("no")

    with pytest.raises(VesicaError):
        Bridge(refuse)
