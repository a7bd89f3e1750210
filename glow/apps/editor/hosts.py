"""What this server may be called in a request's headers Host and Origin."""

import ipaddress
import re
import socket

LOOPBACK = ("127.0.0.1", "localhost", "::1")
AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\\\[\]]+)(:\d{1,5})?")


def host_of(authority: str) -> str | None:
    """The host in `host`, `host:port` or `[address]:port`, lower case; None where it is none."""
    match = AUTHORITY.fullmatch(authority)
    return match["host"].lower().strip("[]").removesuffix(".") if match else None


def is_address(host: str) -> bool:
    """Whether it is an IP address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def own_names(host: str) -> set[str]:
    """The names by which one reaches a server here that listens on a host."""
    names = {"localhost"} if is_address(host) else {"localhost", host.lower()}
    if host in LOOPBACK:
        return names
    own = socket.gethostname().lower()
    return {*names, own, own.partition(".")[0], f"{own.partition('.')[0]}.local"}
