"""What a request must be before anything is done with it: meant for this machine, of this page, and of bounded size.

A page that is open in the same browser can send requests to a port of this machine. It cannot read answers, since none
allows another origin to (no CORS), unless its own name was made to lead here (DNS rebinding): hence the Host header
must name this machine. And it cannot make the models work: a body must be declared as JSON, which a browser asks first
about, and an Origin, where there is one, must be this page's own.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HERE = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
BYTES_OF_A_CHARACTER = 12  # at most, written as two \uXXXX
BESIDE_TEXTS = 1 << 16  # bytes of a request that are no text: names, settings
SECONDS_FOR_A_BODY = 10.0
HEADERS = (
    (b"content-security-policy", b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                                 b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"), (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"))


class RefusedError(Exception):
    """A request that is refused, with its status and one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status, self.line = status, line
        self.headers = {"retry-after": "1"} if status in (429, 503) else {}


class Guard:
    """An application behind the checks; every answer of it has the headers that keep a browser to this page.

    Args:
        app: What answers.
        most_characters: Of all texts of a request.
        most_at_once: Requests that are read or answered at one time; those beyond are refused at once, so that the
            memory for their bodies is bounded.
    """

    def __init__(self, app: App, most_characters: int, most_at_once: int) -> None:
        self._app, self._most_at_once, self._now = app, most_at_once, 0
        self._most_characters = most_characters
        self._most_bytes = most_characters * BYTES_OF_A_CHARACTER + BESIDE_TEXTS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # nothing else is served
            return
        answered = False

        async def with_headers(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        self._now += 1
        try:
            self._check(scope)
            await self._app(scope, await self._whole(scope, receive), with_headers)
        except RefusedError as refused:
            if not answered:
                await _refuse(refused, with_headers)
        finally:
            self._now -= 1

    def _check(self, scope: Scope) -> None:
        """Raise RefusedError for what this server is not meant to answer."""
        named: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            named.setdefault(name.lower(), []).append(value)
        hosts = [value.decode("latin-1") for value in named.get(b"host", [])]
        if len(hosts) != 1 or not HERE.fullmatch(hosts[0]):
            raise RefusedError(403, "this server answers for localhost alone; open it as http://localhost:PORT/")
        origin = named.get(b"origin", [])
        if origin and origin != [f"{scope['scheme']}://{hosts[0]}".encode()]:
            raise RefusedError(403, "a page of another origin asks; only this server's own page may")
        if self._now > self._most_at_once:
            raise RefusedError(503, f"{self._most_at_once} requests are being answered; try again")
        if scope["method"] == "POST":
            kind = b"".join(named.get(b"content-type", [])).partition(b";")[0].strip().lower()
            if kind != b"application/json":
                raise RefusedError(415, "the body must be JSON; send the header Content-Type: application/json")
            told = b"".join(named.get(b"content-length", []))
            if told.isdigit() and int(told[:20]) > self._most_bytes:
                raise self._too_long()

    def _too_long(self) -> RefusedError:
        return RefusedError(413, f"the request is longer than {self._most_characters} characters "
                                 "(demo.max_characters); send fewer or shorter texts")

    async def _whole(self, scope: Scope, receive: Receive) -> Receive:
        """The body, read here whole; raises RefusedError for one that is too long or does not come."""
        body, more = bytearray(), scope["method"] == "POST"
        try:
            async with asyncio.timeout(SECONDS_FOR_A_BODY):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedError(499, "the client has left")
                    body += message.get("body", b"")
                    if len(body) > self._most_bytes:
                        raise self._too_long()
                    more = message.get("more_body", False)
        except TimeoutError:
            raise RefusedError(408, f"the body did not come within {SECONDS_FOR_A_BODY:g} seconds; send it at once"
                               ) from None
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()  # waits until the client leaves
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        return again


async def _refuse(refused: RefusedError, send: Send) -> None:
    body = json.dumps({"error": refused.line}, ensure_ascii=False).encode()
    more = [(name.encode(), value.encode()) for name, value in refused.headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": [
        (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"), *more]})
    await send({"type": "http.response.body", "body": body})
