"""The OpenAPI document: it says what there is, and what a room answers is what it says. And any CSV, of any bytes."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support.rooms import app_of, live_room
from support.server import RunningRoom, agreement_text, bearer, running_room
from support.wire import PROBLEM, ask, part, post_csv, post_form, release, state, submit
from vesica.agreement import parse_agreement

HEADER = "X-OBLV-User-Name"
TWO = agreement_text({"alice": "60", "bob": "60"})
THREE = agreement_text({"alice": "60", "bob": "60", "carol": "60"})
CANARY = "canary-of-bob"
CANARIES = f"id\n{CANARY}-1\n{CANARY}-2\n".encode()

# What a party can do, per path: design.md section 4 without what waits for attestation.
ROUTES = {
    "/healthz": {"get"},
    "/agreement": {"get"},
    "/room": {"get"},
    "/submissions": {"post"},
    "/plan": {"post"},
    "/releases": {"get", "post"},
    "/releases/{number}": {"get"},
    "/budgets": {"get"},
    "/close": {"post"},
}
PSI = {"/psi/submit_list": {"post"}, "/psi/compare": {"get"}}
OPEN_TO_ANYONE = {"/healthz", "/agreement", "/room", "/plan", "/attestation", *PSI}
STATES = ("collecting", "open", "closed")


@pytest.fixture(scope="module")
def rooms() -> Iterator[Mapping[str, RunningRoom]]:
    """A room in each state. carol never submits to the one that is collecting, whatever else happens to it."""
    with (
        running_room(THREE, trusted_header=HEADER) as collecting,
        running_room(TWO) as opened,
        running_room(TWO) as closed,
    ):
        assert submit(collecting.url, "bob", CANARIES).status_code == 201
        for party in ("alice", "bob"):
            assert submit(opened.url, party, CANARIES).status_code == 201
        assert release(opened.url, "alice", "1").status_code == 201
        assert httpx.post(closed.url + "/close", headers=bearer("alice")).status_code == 200
        yield {"collecting": collecting, "open": opened, "closed": closed}


@pytest.fixture(scope="module")
def document(rooms: Mapping[str, RunningRoom]) -> dict[str, Any]:
    answer = httpx.get(rooms["collecting"].url + "/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def values_of(tree: object, key: str) -> Iterator[Any]:
    """Every value of a key, at any depth."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == key:
                yield value
            yield from values_of(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from values_of(value, key)


# The document.


def test_the_document_names_every_route_and_none_besides(document: dict[str, Any]) -> None:
    told = {path: set(methods) for path, methods in document["paths"].items()}
    assert told.items() >= (ROUTES | PSI).items()
    app = app_of(live_room(parse_agreement(TWO.encode())), trusted_header=HEADER)
    app_document = app.openapi()
    assert told == {path: set(methods) for path, methods in app_document["paths"].items()}
    hidden = [route for route in app.routes if isinstance(route, APIRoute) and not route.include_in_schema]
    assert hidden == []
    without = app_of(live_room(parse_agreement(TWO.encode()))).openapi()
    assert set(told) - set(without["paths"]) == set(PSI)


def test_every_reference_and_every_security_scheme_is_defined(document: dict[str, Any]) -> None:
    for reference in values_of(document, "$ref"):
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    schemes = document["components"]["securitySchemes"]
    assert schemes["token"] == {"type": "http", "scheme": "bearer", "description": "Your party's token."}
    for path, _, operation in operations(document):
        named = [name for entry in operation.get("security", []) for name in entry]
        assert set(named) <= set(schemes)
        assert (named == []) == (path in OPEN_TO_ANYONE), path


def test_every_operation_is_described_and_every_refusal_is_a_problem(document: dict[str, Any]) -> None:
    seen = []
    for path, method, operation in operations(document):
        assert operation["description"], path
        seen.append(operation["operationId"])
        for status, answer in operation["responses"].items():
            kinds = set(answer["content"])
            assert kinds == ({"application/json"} if int(status) < 400 else {PROBLEM}), (path, method, status)
    assert len(set(seen)) == len(seen)


def test_examples_are_what_their_schemas_say_and_a_room_takes_them(document: dict[str, Any]) -> None:
    tried = 0
    with running_room(TWO) as room:
        for path, _, operation in operations(document):
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                examples = [example["value"] for example in content.get("examples", {}).values()]
                examples += [content["example"]] if "example" in content else []
                for example in examples:
                    tried += 1
                    schema = {**content["schema"], "components": document["components"]}
                    jsonschema_rs.validator_for(schema).validate(example)
                    if path == "/plan":
                        assert httpx.post(room.url + path, json=example).status_code == 200
                    if (path, kind) == ("/submissions", "text/csv"):
                        assert submit(room.url, "alice", example.encode()).status_code == 201
    assert tried >= 5


def test_examples_inside_schemas_are_what_those_say(document: dict[str, Any]) -> None:
    def check(tree: object) -> int:
        found = 0
        if isinstance(tree, dict):
            if isinstance(tree.get("examples"), list):
                for example in tree["examples"]:
                    jsonschema_rs.validator_for({**tree, "components": document["components"]}).validate(example)
                    found += 1
            found += sum(check(value) for value in tree.values())
        elif isinstance(tree, list):
            found += sum(check(value) for value in tree)
        return found

    assert check(document["components"]["schemas"]) >= 3


def test_the_pages_of_the_framework_are_not_served(rooms: Mapping[str, RunningRoom]) -> None:
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert httpx.get(rooms["collecting"].url + path).status_code == 404


# A room answers as the document says.


def refusals_are_problems(_: object, response: Any, __: object) -> None:
    if response.status_code >= 400:
        assert response.headers["content-type"] == [PROBLEM], response.headers
        problem = json.loads(response.content)
        assert problem["status"] == response.status_code
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", problem["code"])
    assert CANARY.encode() not in response.content
    assert b"Traceback" not in response.content


def cases(examples: int) -> settings:
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],  # to shrink takes long, and the seed is fixed anyway
        suppress_health_check=list(HealthCheck),
    )


CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = [f"{method.upper()} {path}" for path, methods in (ROUTES | PSI).items() for method in sorted(methods)]


def combinations() -> Iterator[tuple[str, str, str]]:
    for operation, stage, who in itertools.product(OPERATIONS, STATES, ("alice", "nobody")):
        # Only the room that is collecting stands behind a proxy. And who closes a room takes it from the other tests.
        behind_a_proxy = "/psi/" not in operation or stage == "collecting"
        closes = (operation, who) == ("POST /close", "alice") and stage != "closed"
        if behind_a_proxy and not closes:
            yield operation, stage, who


@pytest.mark.parametrize(("operation", "stage", "who"), list(combinations()))
def test_a_room_answers_as_its_document_says(
    operation: str, stage: str, who: str, rooms: Mapping[str, RunningRoom]
) -> None:
    url = rooms[stage].url
    headers = bearer("alice") if who == "alice" else {"Authorization": "Bearer nobody's"}
    if "/psi/" in operation:
        headers = {HEADER: "alice" if who == "alice" else "nobody"}
    method, path = operation.split()
    loaded = schemathesis.openapi.from_url(url + "/openapi.json")
    found = loaded[path][method.lower()]
    for mode in GenerationMode:
        if mode is GenerationMode.NEGATIVE and "requestBody" not in found.definition.raw and "{" not in path:
            continue

        @cases(20)
        @given(case=found.as_strategy(generation_mode=mode))
        def answers(case: schemathesis.Case) -> None:
            case.call_and_validate(
                base_url=url,
                headers=headers,
                timeout=20,
                checks=CHECKS,
                additional_checks=[refusals_are_problems],
            )

        answers()
    assert state(url) == stage


def test_these_checks_see_an_answer_that_is_not_in_the_document(rooms: Mapping[str, RunningRoom]) -> None:
    url = rooms["collecting"].url
    document = httpx.get(url + "/openapi.json").json()
    document["paths"]["/room"]["get"]["responses"] = {"418": {"description": "never"}}
    document["components"]["schemas"]["Health"]["properties"]["status"] = {"type": "integer"}
    loaded = schemathesis.openapi.from_dict(document)
    for path in ("/room", "/healthz"):
        case = loaded[path]["get"].Case()
        with pytest.raises(FailureGroup):
            case.call_and_validate(base_url=url, checks=CHECKS)


def test_a_room_closes_and_says_so_ever_after() -> None:
    with running_room(TWO) as room:
        for _ in range(2):
            answer = httpx.post(room.url + "/close", headers=bearer("bob"), content=b"whatever")
            assert (answer.status_code, answer.json()["state"]) == (200, "closed")


# Any bytes.

VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "007", "NA", '"', '""', ",", "\r", "\n", "\r\n", "\0", "\ufeff", "a" * 5000, "\u2028", " "]),
)
QUOTED = VALUES.map(lambda value: '"' + value.replace('"', '""') + '"')
TABLES = st.lists(st.lists(VALUES | QUOTED, min_size=1, max_size=2).map(",".join), max_size=8).flatmap(
    lambda rows: st.sampled_from(["\n", "\r\n", "\r"]).map(lambda end: end.join(rows))
)
LISTS = st.lists(QUOTED, min_size=1, max_size=30).map(lambda rows: "id\n" + "\n".join(rows))  # many of them good
BODIES = st.one_of(
    st.binary(max_size=200),
    TABLES.map(lambda text: text.encode("utf-8", "surrogatepass")),
    LISTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.tuples(LISTS, st.binary(max_size=5)).map(lambda both: both[0].encode("utf-8", "surrogatepass") + both[1]),
    st.sampled_from(["utf-8-sig", "utf-16", "latin-1", "utf-32"]).map("id\ncaf\u00e9\n".encode),
)


class Parties:
    """Parties that have not submitted yet, of as many rooms as it takes. bob has submitted to each; zoe never does."""

    NAMES = tuple(f"p{i}" for i in range(10))

    def __init__(self) -> None:
        self._left: list[tuple[RunningRoom, str]] = []
        self._contexts: list[Any] = []

    def next(self) -> tuple[RunningRoom, str]:
        """One that has not submitted."""
        if not self._left:
            context = running_room(agreement_text(dict.fromkeys((*self.NAMES, "bob", "zoe"), "1")))
            room = context.__enter__()
            self._contexts.append((context, room))
            assert submit(room.url, "bob", CANARIES).status_code == 201
            self._left = [(room, name) for name in self.NAMES]
        return self._left[-1]

    def used(self) -> None:
        """The last one has submitted."""
        self._left.pop()

    def stop(self) -> list[str]:
        """Ends all rooms; returns their logs."""
        logs = []
        for context, room in self._contexts:
            room.stop()
            logs.append(room.stderr)
            context.__exit__(None, None, None)
        return logs


def test_any_bytes_are_taken_or_refused_with_a_reason_and_nothing_of_others_is_told() -> None:
    parties = Parties()
    outcomes: set[str] = set()

    @cases(250)
    @given(body=BODIES, form=st.booleans())
    def answered(body: bytes, form: bool) -> None:
        room, party = parties.next()
        answer = ask(
            room.url, post_form(party, part(body)) if form else post_csv(party, body, Content_Length=str(len(body)))
        )
        assert CANARY.encode() not in answer.body
        if answer.status == 201:
            parties.used()
            told = json.loads(answer.body)
            assert told["party"] == party
            assert 1 <= told["rows"] <= body.count(b"\n") + body.count(b"\r") + 1
            outcomes.add("accepted")
        else:
            assert 400 <= answer.status < 500
            outcomes.add(answer.code)
            line = json.loads(answer.body).get("line")
            assert line is None or 1 <= line <= body.count(b"\n") + body.count(b"\r") + 1

    try:
        answered()
    finally:
        logs = parties.stop()
    assert outcomes >= {
        "accepted",
        "header-mismatch",
        "ragged-row",
        "bad-quote",
        "not-utf-8",
        "nul-byte",
        "empty-value",
    }
    for log in logs:
        assert "unexpected-error" not in log
        assert "exception=" not in log
        assert CANARY not in log


def test_the_same_bytes_get_the_same_answer_however_they_are_framed_and_cut(rooms: Mapping[str, RunningRoom]) -> None:
    """Always refused (the last byte is a NUL), so that one party can try again and again."""
    url = rooms["collecting"].url

    @cases(150)
    @given(body=BODIES, cuts=st.lists(st.integers(1, 300), max_size=6))
    def alike(body: bytes, cuts: list[int]) -> None:
        body += b"\n\0"
        edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
        chunks = [body[a:b] for a, b in itertools.pairwise(edges)]
        chunked = b"".join(b"%x\r\n" % len(chunk) + chunk + b"\r\n" for chunk in chunks) + b"0\r\n\r\n"
        answers = [
            ask(url, post_csv("carol", body)),
            ask(url, post_csv("carol", chunked, Transfer_Encoding="chunked")),
            ask(url, post_form("carol", part(body))),
        ]
        assert answers[0].status == 422
        assert answers[0].body == answers[1].body == answers[2].body

    alike()
