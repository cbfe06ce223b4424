"""`Guard`: who may ask the app for what. Every request passes it first.

A page of any site that the user visits can send requests to 127.0.0.1. The guard refuses them: by the Host header,
which a site that renames itself to 127.0.0.1 (DNS rebinding) cannot choose, and by Origin and Sec-Fetch-Site, which
browsers set truthfully. An app that other machines can reach asks for a token in addition.
"""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protome.app.limits import MB, Limits

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
COOKIE = "protome_token"
SAFE = ("GET", "HEAD")
HEALTH = "/healthz"
"""What a container's supervisor asks; it tells nothing but that the app answers."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the first address holds the token
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
}
"""Of every response that does not set them itself."""
ASK = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Protome: token</title><h1>This app asks for its token</h1>
<p>The terminal in which it was started shows an address with the token.</p>
<form action="/"><label>Token <input name="token" type="password" autocomplete="off" required></label>
<button>Open</button></form></html>"""


@dataclass(frozen=True)
class Guard:
    """The guard as ASGI middleware."""

    app: ASGIApp
    limits: Limits
    token: str | None
    """What requests must show; None where everybody who reaches the app may use it."""
    local: bool
    """Whether the app listens to this machine alone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is refused, and hand on any other."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers) or self._login(scope, headers)
        if answer is not None:
            await answer(scope, receive, _with_headers(send))
            return
        limited = receive if scope["method"] in SAFE else _limited(receive, self.limits)
        await self.app(scope, limited, _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if self.local and _name(host) not in LOCAL_NAMES:
            return _refuse(403, "this app answers to 127.0.0.1 and localhost alone")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        own = site in ("none", "same-origin") and (origin is None or origin == f"{scope['scheme']}://{host}")
        visit = scope["method"] in SAFE and headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
        if not own and not visit:
            return _refuse(403, "this request comes from a page of another site")
        size = headers.get("content-length", "0")
        if not size.isdecimal() or int(size) > self.limits.upload_mb * MB:
            return _refuse(413, _too_large(self.limits))
        return None

    def _login(self, scope: Scope, headers: Headers) -> Response | None:
        if self.token is None or scope["path"] == HEALTH:
            return None
        if scope["path"] == "/" and scope["method"] == "GET":
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if _same(given, self.token):
                answer = RedirectResponse("/", 303)
                answer.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
                return answer
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        shown = bearer.strip() if kind.lower() == "bearer" else _cookie(headers.get("cookie", ""))
        if _same(shown, self.token):
            return None
        if scope["path"] == "/":
            return HTMLResponse(ASK, 401)
        return _refuse(401, "this app asks for its token, as Authorization: Bearer TOKEN")


def _limited(receive: Receive, limits: Limits) -> Receive:
    """Return what reads a body no longer, in bytes and in time, than the limits allow."""
    loop = asyncio.get_running_loop()
    end, size = loop.time() + 60 * limits.upload_minutes, 0

    async def read() -> Message:
        nonlocal size
        if size < 0:
            return await receive()  # the body is complete: what comes is the end of the connection
        try:
            async with asyncio.timeout_at(end):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"the upload took more than {limits.upload_minutes:g} minutes") from None
        size += len(message.get("body", b""))
        if size > limits.upload_mb * MB:
            raise HTTPException(413, _too_large(limits))
        if not message.get("more_body", False):
            size = -1
        return message

    return read


def _with_headers(send: Send) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return answer


def _too_large(limits: Limits) -> str:
    return f"the upload has more than {limits.upload_mb} MB: give fewer or smaller files"


def _refuse(status: int, sentence: str) -> Response:
    return JSONResponse({"detail": sentence}, status)


def _name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    return host.lower() if host.endswith("]") else host.lower().rpartition(":")[0] or host.lower()


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _cookie(text: str) -> str:
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value
