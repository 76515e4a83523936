"""GET /attestation: evidence over the nonce that was asked with, or a refusal that says why."""

import asyncio
import base64
import threading

import httpx

from support.rooms import agreed, live_room
from vesica.limits import ATTESTATIONS_WAITING_MAX
from vesica_attestation.binding import Binding
from vesica_attestation.errors import AttesterUnavailable
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.software import InsecureSoftwareAttester
from vesica_enclave.identity import RoomKeys
from vesica_routes.app import create_app
from vesica_routes.proving import Proving

NONCE = "ab" * 32


def client_of(attester: object) -> httpx.AsyncClient:
    room = live_room(agreed({"alice": "1", "bob": "1"}))
    app = create_app(room, Proving(attester, RoomKeys().identity(room.digest)))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://room")


def get(attester: object, *paths: str) -> list[httpx.Response]:
    async def main() -> list[httpx.Response]:
        async with client_of(attester) as client:
            return [await client.get(path) for path in paths]

    return asyncio.run(main())


def test_evidence_is_bound_to_the_nonce_the_keys_and_the_agreement_that_the_answer_names() -> None:
    one, other = get(InsecureSoftwareAttester(), f"/attestation?nonce={NONCE}", "/attestation?nonce=" + "cd" * 32)
    for answer, nonce in ((one.json(), NONCE), (other.json(), "cd" * 32)):
        binding = Binding(**{name: bytes.fromhex(value) for name, value in answer["binding"].items()})
        assert binding.nonce.hex() == nonce
        assert base64.b64decode(answer["evidence"]["parts"]["report_data"]) == binding.report_data()
    assert {k: v for k, v in one.json()["binding"].items() if k != "nonce"} == {
        k: v for k, v in other.json()["binding"].items() if k != "nonce"
    }
    assert one.headers["cache-control"] == "no-store"


def test_without_a_fresh_nonce_of_32_bytes_there_is_no_evidence() -> None:
    odd = ["", "?nonce=", "?nonce=ab", f"?nonce={NONCE}00", "?nonce=" + "g" * 64, "?nonce=" + "AB" * 32, f"?n={NONCE}"]
    for answer in get(InsecureSoftwareAttester(), *("/attestation" + query for query in odd)):
        assert answer.status_code == 422
        assert "evidence" not in answer.json()


class Broken:
    kind = Kind.NITRO

    def attest(self, report_data: bytes) -> Evidence:
        raise AttesterUnavailable(self.kind, "secret words of the hardware")


def test_hardware_that_fails_is_told_as_unavailable_without_its_words() -> None:
    (answer,) = get(Broken(), f"/attestation?nonce={NONCE}")
    assert (answer.status_code, answer.json()["code"]) == (503, "evidence-unavailable")
    assert "secret" not in answer.text


def test_too_many_that_ask_at_once_are_told_so_and_the_hardware_is_asked_one_at_a_time() -> None:
    release, inside, most = threading.Event(), [0], [0]

    class Slow(InsecureSoftwareAttester):
        def attest(self, report_data: bytes) -> Evidence:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            release.wait(10)
            inside[0] -= 1
            return super().attest(report_data)

    async def main() -> list[int]:
        async with client_of(Slow()) as client:
            path = f"/attestation?nonce={NONCE}"
            asked = [asyncio.ensure_future(client.get(path)) for _ in range(ATTESTATIONS_WAITING_MAX + 5)]
            await asyncio.wait(asked, timeout=2, return_when=asyncio.FIRST_COMPLETED)
            release.set()
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    codes = asyncio.run(main())
    assert sorted(set(codes)) == [200, 503]
    assert codes.count(503) == 5
    assert most == [1]
