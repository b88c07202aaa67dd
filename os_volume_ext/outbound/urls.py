"""URLs that an operator configured: without their passwords, and links to the same origin."""

import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

_PORTS = {"http": 80, "https": 443}
_USERINFO = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)?([^:@/]*):.*@", re.DOTALL)


def hide_password(url: str) -> str:
    """Return a URL to show: with ``***`` for its password.

    A password that should have been quoted, as it has an ``@`` or a slash, is hidden too.
    """
    return _USERINFO.sub(r"\1\2:***@", url)


def is_http_url(url: str) -> bool:
    """Return whether requests can be sent to paths below a URL: ``http`` or ``https``, a host, no query or fragment."""
    if not (url.isascii() and url.isprintable()) or any(character in url for character in " ?#"):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port above 65535, or half an IPv6 address
        return False


def origin(url: str) -> str:
    """Return the scheme, host and port of a URL, to show."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def at_origin(configured: str, link: str) -> str | None:
    """Return a link's path and query at the scheme, host and port of a configured URL; None if it leads elsewhere.

    From ``https`` to ``http`` it does not lead elsewhere: this is what a service links to behind a proxy that
    terminates TLS.

    :raises ValueError: if one of them is malformed.
    """
    ours, theirs = urlsplit(configured), urlsplit(link)
    schemes, ports = {ours.scheme}, {_port(ours)}
    if ours.scheme == "https":
        schemes.add("http")
    if _port(ours) == _PORTS["https"] and theirs.scheme == "http":
        ports.add(_PORTS["http"])
    if theirs.scheme not in schemes or theirs.hostname != ours.hostname or _port(theirs) not in ports:
        return None
    return urlunsplit((ours.scheme, ours.netloc, theirs.path, theirs.query, ""))


def _port(parts: SplitResult) -> int | None:
    return parts.port or _PORTS.get(parts.scheme)
