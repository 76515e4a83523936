"""The enclave PSI sample's own flow: the same requests get the same sentences; the count is a release."""

import threading
from collections.abc import Iterator

import httpx
import pytest

from support.launch import launched_room, limits
from support.server import RunningRoom, agreement_text, bearer, running_room
from support.wire import ask, csv_of, release, request, submit

HEADER = "X-OBLV-User-Name"
LIMIT_50 = {"Alice": "50", "Bob": "50"}


def as_(name: str) -> dict[str, str]:
    return {HEADER: name}


def send_list(url: str, name: str, data: bytes) -> httpx.Response:
    return httpx.post(url + "/psi/submit_list", headers=as_(name), files={"csv_file": ("list.csv", data)})


def compare(url: str, name: str) -> httpx.Response:
    return httpx.get(url + "/psi/compare", headers=as_(name), timeout=30)


A, B = csv_of(str(i) for i in range(100, 900)), csv_of(str(i) for i in range(700, 1200))


def test_two_lists_and_a_comparison_get_the_samples_sentences_and_the_same_ones_ever_after() -> None:
    with running_room(agreement_text(LIMIT_50), trusted_header=HEADER) as room:
        first = send_list(room.url, "Alice", A)
        assert (first.status_code, first.json()) == (200, "Successfully saved 800 values uloaded by Alice.")
        assert send_list(room.url, "Bob", B).json() == "Successfully saved 500 values uloaded by Bob."
        answers = [compare(room.url, name) for name in ("Bob", "Alice", "Bob")]
        assert {(a.status_code, a.json()) for a in answers} == {(200, "Alice and Bob have 200 values in common")}
        assert {a.content for a in answers} == {b'"Alice and Bob have 200 values in common"'}
        budgets = httpx.get(room.url + "/budgets", headers=as_("Bob")).json()["parties"]
        assert [(party["spent"], party["remaining"]) for party in budgets] == [("50", "0")] * 2
        (stored,) = httpx.get(room.url + "/releases", headers=bearer("Alice")).json()["releases"]
        assert (stored["value"], stored["epsilon"]) == (200, "50")


def test_comparisons_at_the_same_time_are_one_release() -> None:
    sentences: list[str] = []
    with running_room(agreement_text(LIMIT_50), trusted_header=HEADER) as room:
        send_list(room.url, "Alice", A)
        send_list(room.url, "Bob", B)
        threads = [
            threading.Thread(target=lambda i=i: sentences.append(compare(room.url, ["Alice", "Bob"][i % 2]).json()))
            for i in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sentences == ["Alice and Bob have 200 values in common"] * 12
        assert len(httpx.get(room.url + "/releases", headers=as_("Bob")).json()["releases"]) == 1


def test_three_names_stand_in_the_sentence_as_in_a_list() -> None:
    parties = {"Carol Ltd": "50", "Alice": "50", "Bob": "50"}
    with running_room(agreement_text(parties), trusted_header=HEADER) as room:
        for name in parties:
            assert send_list(room.url, name, A).status_code == 200
        assert compare(room.url, "Carol Ltd").json() == "Alice, Bob and Carol Ltd have 800 values in common"


def test_nothing_in_common_is_never_shown_below_nought() -> None:
    shown = set()
    with running_room(agreement_text({"Alice": "0.1", "Bob": "0.1"}), trusted_header=HEADER) as room:
        send_list(room.url, "Alice", b"id\n1\n")
        send_list(room.url, "Bob", b"id\n2\n")
        shown.add(compare(room.url, "Alice").json())
        (drawn,) = httpx.get(room.url + "/releases", headers=as_("Bob")).json()["releases"]
        assert shown == {f"Alice and Bob have {max(0, drawn['value'])} values in common"}


def test_epsilon_default_is_what_a_comparison_costs() -> None:
    agreement = agreement_text({"Alice": "60", "Bob": "100"}, epsilon_default="40")
    with running_room(agreement, trusted_header=HEADER) as room:
        send_list(room.url, "Alice", A)
        send_list(room.url, "Bob", B)
        assert compare(room.url, "Bob").json() == "Alice and Bob have 200 values in common"
        budgets = httpx.get(room.url + "/budgets", headers=as_("Bob")).json()["parties"]
        assert [party["spent"] for party in budgets] == ["40", "40"]
        assert release(room.url, "Alice", "20").status_code == 201
        assert compare(room.url, "Bob").json() == "Alice and Bob have 200 values in common"


def test_a_comparison_too_early_is_refused_and_costs_nothing() -> None:
    with running_room(agreement_text(LIMIT_50), trusted_header=HEADER) as room:
        send_list(room.url, "Alice", A)
        early = compare(room.url, "Alice")
        assert (early.status_code, early.json()["code"]) == (409, "room-not-open")
        again = send_list(room.url, "Alice", B)
        assert (again.status_code, again.json()["code"]) == (409, "already-submitted")
        send_list(room.url, "Bob", B)
        assert compare(room.url, "Alice").json() == "Alice and Bob have 200 values in common"


def test_a_comparison_is_kept_whoever_was_refused_one_before() -> None:
    """Two are refused because a release came between; a third settles the comparison anew; it stays settled."""
    slow = limits(RELEASE_STEP_SECONDS=0.6)
    with launched_room(agreement_text(LIMIT_50), trusted_header=HEADER, before=slow) as room:
        send_list(room.url, "Alice", A)
        assert compare(room.url, "Alice").status_code == 409  # it is settled now at 50
        send_list(room.url, "Bob", B)
        assert release(room.url, "Alice", "10").status_code == 201
        late: list[int] = []
        second = threading.Timer(0.3, lambda: late.append(compare(room.url, "Bob").status_code))
        second.start()
        assert compare(room.url, "Alice").status_code in (200, 403)
        assert compare(room.url, "Alice").json() == "Alice and Bob have 200 values in common"  # ends after the second
        second.join()
        assert late[0] in (200, 403)
        for name in ("Alice", "Bob"):
            assert compare(room.url, name).json() == "Alice and Bob have 200 values in common"


def test_a_bad_list_gets_a_reason_and_another_try() -> None:
    with running_room(agreement_text(LIMIT_50), trusted_header=HEADER) as room:
        refused = send_list(room.url, "Alice", b"id\n1\n1\n")
        assert (refused.status_code, refused.json()["code"], refused.json()["line"]) == (422, "duplicate-row", 3)
        assert send_list(room.url, "Alice", A).status_code == 200


def test_without_the_option_there_is_no_such_path_and_the_header_names_nobody() -> None:
    with running_room(agreement_text(LIMIT_50)) as room:
        for method, path in [("POST", "/psi/submit_list"), ("GET", "/psi/compare")]:
            answer = httpx.request(method, room.url + path, headers=as_("Alice"))
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
        assert httpx.get(room.url + "/budgets", headers=as_("Alice")).status_code == 401
        mixed = httpx.get(room.url + "/budgets", headers=as_("Bob") | bearer("Alice"))
        assert mixed.status_code == 200  # a header that nobody trusts is no contradiction
        assert "/psi/compare" not in httpx.get(room.url + "/openapi.json").json()["paths"]


@pytest.fixture(scope="module")
def trusting() -> Iterator[RunningRoom]:
    """A room behind a proxy that nobody has submitted to, and nobody does."""
    with running_room(agreement_text(LIMIT_50), trusted_header=HEADER) as room:
        yield room


@pytest.mark.parametrize("path", ["/psi/compare", "/budgets"])
@pytest.mark.parametrize(
    "headers",
    [
        [("X-OBLV-User-Name", "mallory-canary")],
        [("X-OBLV-User-Name", "alice")],
        [("X-OBLV-User-Name", "")],
        [("X-OBLV-User-Name", "Alice, Bob")],
        [("X-OBLV-User-Name", "Alice"), ("X-OBLV-User-Name", "Alice")],
        [("X-OBLV-User-Name", "Alice"), ("x-oblv-user-name", "Bob")],
        [("X-OBLV-User-Name", "Alice"), ("Authorization", "Bearer test-token-of-Bob")],
        [("X-OBLV-User-Name", "Alice"), ("Authorization", "Bearer wrong")],
        [("X-OBLV-User-Name", "Alice"), ("Authorization", "Bearer test-token-of-Alice"), ("Authorization", "x")],
        [("X_OBLV_User_Name", "Alice")],
        [],
    ],
)
def test_a_header_that_is_not_one_name_of_the_roster_is_nobody_and_is_not_echoed(
    headers: list[tuple[str, str]], path: str, trusting: RunningRoom
) -> None:
    answer = httpx.get(trusting.url + path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert "mallory" not in answer.text + str(answer.headers)
    assert "authentication-failed" in trusting.stderr
    assert "mallory" not in trusting.stderr + trusting.stdout


def test_the_header_in_any_case_and_with_the_partys_own_token_is_the_party() -> None:
    with running_room(agreement_text(LIMIT_50), trusted_header=HEADER) as room:
        for headers in [as_("Alice") | bearer("Alice"), {"x-oblv-user-name": "Alice"}, {"X-OBLV-USER-NAME": "  Alice"}]:
            assert ask(room.url, request("GET", "/budgets", headers)).status == 200


def test_a_party_may_still_come_with_its_token_alone() -> None:
    with running_room(agreement_text(LIMIT_50), trusted_header=HEADER) as room:
        assert submit(room.url, "Alice", A).status_code == 201
        assert httpx.get(room.url + "/psi/compare", headers=bearer("Alice")).status_code == 401


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_site_cannot_ask_in_a_partys_name(site: str) -> None:
    """A browser that the proxy knows sends the party's requests, whoever wrote the page; it says so."""
    with running_room(agreement_text(LIMIT_50), trusted_header=HEADER) as room:
        sent = request("POST", "/close", as_("Alice") | {"Sec-Fetch-Site": site, "Origin": "https://evil.example"})
        assert ask(room.url, sent).code == "unauthenticated"
        sent = request("GET", "/budgets", as_("Alice") | {"Sec-Fetch-Site": "same-origin"})
        assert ask(room.url, sent).status == 200
