"""Who may ask, and what a browser may do with the answers."""

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glow.apps.editor.hosts import host_of, is_address

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
OTHER_PAGE = "expected a request of this server's own page, came one of another page"


class Guard:
    """Refuses requests of other pages, and of names that are not this server's.

    A page elsewhere could send requests from its visitor's browser, or point its own name at this
    server's address; the browser's headers Origin and Host tell. An address as Host is nobody's
    name, so any will do: those of the machine, and that of a container's host.

    Args:
        app: what is guarded.
        names: that this server is called, in lower case.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self.app, self.names = app, frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 400 or 403, or passes the request on and adds headers to the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        answer = JSONResponse({"error": refusal[1]}, refusal[0]) if refusal else self.app
        await answer(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        """Status and reason."""
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        name = host_of(hosts[0]) if len(hosts) == 1 else None
        if name is None:
            return 400, "expected one header Host, with a name or an address"
        if not (name in self.names or is_address(name)):
            return 403, "this server goes by another name; `--name` adds one"
        for origin in origins:
            whose = origin.partition("://")[2]
            if origin != "null" and host_of(whose) is None:
                return 400, "expected a header Origin with a name or an address"
            if whose.lower() != hosts[0].lower():
                return 403, OTHER_PAGE
        follows_link = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        own = headers.get("sec-fetch-site", "none") in ("same-origin", "none")
        return None if own or follows_link else (403, OTHER_PAGE)
