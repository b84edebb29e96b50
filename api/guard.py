"""Without authentication the service is for this machine only."""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from flask import Flask, Response, request

from api.errors import problem
from shared.errors import SettingsError


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without its port, is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_bind(addresses: Iterable[str]) -> None:
    """Refuse to listen on any of these hosts but loopback (with AUTH=off).

    Raises SettingsError.
    """
    for host in addresses:
        if not is_loopback(host):
            raise SettingsError(
                f"IMAGEMILL_AUTH: without authentication only loopback may be bound, not {host}"
            )


def register(app: Flask) -> None:
    """Answer only requests that come from this machine and were meant for it.

    The Host header is checked against DNS rebinding, Origin against other sites' pages.
    """

    @app.before_request
    def local_only() -> Response | None:
        host = urlsplit(f"//{request.host}").hostname or ""
        if not is_loopback(host):
            return problem(421, "host_not_allowed", "address this service as localhost")
        if request.remote_addr and not is_loopback(request.remote_addr):
            return problem(403, "not_local", "without authentication only this machine may ask")
        origin = request.headers.get("Origin")
        if origin and not is_loopback(urlsplit(origin).hostname or ""):
            return problem(403, "origin_not_allowed", "pages of other sites may not use this API")
        return None
