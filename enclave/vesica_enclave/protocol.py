"""One connection: uvicorn's HTTP protocol with the bounds that it lacks.

A client that sends its headers drop by drop, or without end, keeps sending a body that was refused, or does not read
its answers, is cut off. What two parsers could read differently is refused or dropped: trailers are no headers, and a
request that asks for another protocol is the last one on its connection. Bodies are bounded where they are read
(``vesica_routes.bodies``); how many connections there may be, at the door (``vesica_enclave.door``).
"""

import asyncio
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from vesica.limits import (
    ANSWER_PIECE_BYTES,
    DISCARDED_BODY_BYTES_MAX,
    HEADER_SECONDS_MAX,
    HEADERS_BYTES_MAX,
    HEADERS_COUNT_MAX,
    KEEP_ALIVE_SECONDS_MAX,
    PIPELINED_MAX,
    RECEIVE_BYTES,
    WRITE_SECONDS_MAX,
)
from vesica_routes.problems import problem
from vesica_routes.staying import EXTENSION

_BODY_HEADERS = (b"content-length", b"transfer-encoding")


# Of all connections: what is read is worked through before the next read.
_RECEIVED = memoryview(bytearray(RECEIVE_BYTES))


class BoundedProtocol(HttpToolsProtocol, asyncio.BufferedProtocol):
    """HTTP/1.1 with bounded headers and bounded patience.

    Buffered: TLS is then opened into one place, 16 KiB a record, where asyncio would else make, and shrink, an object
    of 256 KiB for each record. That halves the time of receiving.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (passed on as they are)
        super().__init__(*args, **kwargs)
        self.may_stay = False  # while a party's submission is read: others make room first
        self._ended = asyncio.Event()
        self._in_headers = False
        self._header_bytes = 0  # of the headers (or trailers) being read
        self._silent_bytes = 0  # since the parser last told of anything: a header, trailer or chunk line without end
        self._discarded_bytes = 0
        self._last_request = False  # what follows is not read
        self._keep_alive = True  # what the cycle's was, while a client waits for "100 Continue"
        self._patience: asyncio.TimerHandle | None = None  # until the client completes what it owes
        self._reading: asyncio.TimerHandle | None = None  # until the client takes its answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Gives the client a time in which to ask something."""
        super().connection_made(cast("asyncio.Transport", transport))
        self.transport.set_write_buffer_limits(high=ANSWER_PIECE_BYTES)  # TLS would let half a megabyte wait
        self._wait(HEADER_SECONDS_MAX)

    def connection_lost(self, exc: Exception | None) -> None:
        """Lets go of the timers, and of whoever waits for the end."""
        self._came()
        self._taken()
        super().connection_lost(exc)
        self._ended.set()

    async def ended(self) -> None:
        """Waits until the connection is lost; not at all, where it was lost before it was made."""
        if self.transport is not None:
            await self._ended.wait()

    def abort(self) -> None:
        """Ends the connection at once, whatever is on its way; nothing is left to end where it was lost already.

        (Before 3.11.5, a transport of Python's TLS that is closed twice cannot be told to abort: it raises.)
        """
        transport = cast("asyncio.Transport | None", self.transport)  # None before it was made
        if transport is not None and not self._ended.is_set():
            transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 (asyncio's hint is its own buffer's size)
        """Where the next bytes go."""
        return _RECEIVED

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come. Nothing keeps them: the parser copies what it hands on."""
        self.data_received(_RECEIVED[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        """Counts what a client sends without ever completing it."""
        if self._last_request:
            self._discard(len(data))
            return
        self._silent_bytes += len(data)
        super().data_received(data)  # type: ignore[arg-type]  # httptools takes any buffer
        if self._silent_bytes > HEADERS_BYTES_MAX:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """A request begins: its headers have a time of their own."""
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: {"stay": self._stay}}
        self._in_headers = True
        self._header_bytes = 0
        self._wait(HEADER_SECONDS_MAX)

    def on_url(self, url: bytes) -> None:
        """Counts the path as a header."""
        super().on_url(url)
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuses too many headers, and drops trailers.

        uvicorn puts trailers among the headers. A proxy that takes X-OBLV-User-Name out of headers leaves trailers.
        """
        self._count_header(len(name) + len(value))
        if self._in_headers:
            super().on_header(name, value)
            if len(self.headers) > HEADERS_COUNT_MAX:
                self.transport.abort()

    def on_headers_complete(self) -> None:
        """The headers are complete: the app is asked."""
        self._came()
        self._in_headers = False
        self._header_bytes = self._silent_bytes = self._discarded_bytes = 0
        if len(self.pipeline) >= PIPELINED_MAX:
            self.transport.abort()
        if self.transport.is_closing():
            return
        asks_for_more = self.parser.should_upgrade()
        if asks_for_more and any(name in _BODY_HEADERS for name, _ in self.headers):
            # The parser takes the body of such a request for the next request, with headers that no proxy has seen.
            self._refuse("a request that has a body cannot ask for another protocol; send it without Upgrade")
            return
        super().on_headers_complete()
        if asks_for_more:
            self._last_request = True
            self.cycle.keep_alive = False
        if self.expect_100_continue:
            # Refused before it was told to continue, a client sends no body; the parser would wait for it and take
            # the next request for it. ``on_body`` gives it back.
            self._keep_alive, self.cycle.keep_alive = self.cycle.keep_alive, False

    def on_body(self, body: bytes) -> None:
        """Passes the body on; once the request is answered, throws a bounded rest of it away and then hangs up.

        To hang up at once would reset the connection, and the client would lose the answer that tells it why.
        """
        self._silent_bytes = 0
        if self.transport.is_closing():
            return
        if self.expect_100_continue:
            self.expect_100_continue = False
            self.cycle.keep_alive = self._keep_alive
        if self.cycle.response_complete:
            self._discard(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._silent_bytes = 0
        if self.cycle is not None:  # None: its headers were refused
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The rest of a refused body, or the next request, has a time in which to come, whatever else comes."""
        self.may_stay = False
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self.pipeline or len(self.cycle.body) > HIGH_WATER_LIMIT:
            # uvicorn reads on after every answer, and a client that asked often may then send a body without end to a
            # request whose turn has not come.
            self.flow.pause_reading()
        if not self.pipeline:
            self._wait(KEEP_ALIVE_SECONDS_MAX)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's own words)
        """What is not HTTP is told so, in the form of every other refusal."""
        waiting = self._waiting()
        if waiting is not None and not waiting.more_body:
            # The request before it is answered first, and is the last: the client would take the one for the other.
            self._last_request = True
            waiting.keep_alive = False
            self._came()
        else:
            self._refuse("this is not HTTP/1.1 as RFC 9112 writes it")

    def pause_writing(self) -> None:
        """The client does not take its answers: it has a time in which to."""
        super().pause_writing()
        self._reading = self._reading or self.loop.call_later(WRITE_SECONDS_MAX, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has taken its answers."""
        super().resume_writing()
        self._taken()

    def _stay(self) -> None:
        self.may_stay = True

    def _refuse(self, detail: str) -> None:
        """Answers for the app, which is not asked, and takes no more requests."""
        self._last_request = True
        if self.pipeline:
            self.transport.abort()
            return
        answer = problem(HTTPStatus.BAD_REQUEST, "bad-request", detail)
        head = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head + b"connection: close\r\n\r\n" + bytes(answer.body))
        waiting = self._waiting()
        if waiting is not None:
            waiting.disconnected = True  # it has its answer
            waiting.message_event.set()
        if self.transport.can_write_eof():
            self.transport.write_eof()  # and read on for a while: to hang up on a client that sends loses the answer
            self._wait(KEEP_ALIVE_SECONDS_MAX)
        else:
            self.transport.close()

    def _waiting(self) -> RequestResponseCycle | None:
        """The newest request, if it has no answer yet."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first
        return None if cycle is None or cycle.response_complete else cycle

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADERS_BYTES_MAX:
            self.transport.abort()

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > DISCARDED_BODY_BYTES_MAX:
            self.transport.abort()

    def _wait(self, seconds: float) -> None:
        self._came()
        self._patience = self.loop.call_later(seconds, self._hang_up)

    def _came(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _taken(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _hang_up(self) -> None:
        self._patience = None
        if self.transport.get_write_buffer_size():  # an answer is on its way
            self.transport.close()
            self._reading = self._reading or self.loop.call_later(WRITE_SECONDS_MAX, self.transport.abort)
        else:
            self.transport.abort()
