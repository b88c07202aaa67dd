"""Requests as bytes: good ones, such as no client should send, and good ones with something wrong."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from hypothesis import strategies as st

CYCLADES = (
    "/compute/v2.0",
    (*("1134",) * 4, "1135", "1140", "1141", "2001", "01134", "7"),
    (*("9",) * 4, "99", "1000", "200", "009", "7"),
)
OPENSTACK = (
    "/v2.1",
    (
        *("4335bab6-6086-4247-8274-8b8b048edaaa",) * 3,
        "20f0cb44-7b00-4019-a612-364777cd2931",
        "5d1f7c1a-0c5e-4c6f-9d5b-5a1d3f0c9b77",
        "7BE0E5F4-8c1d-4a53-9a54-2f6d1c0e8b10",
        "00000000-0000-4000-8000-000000000000",
    ),
    (
        *("a26887c6-c47b-4654-abb5-dfadf7d3f803",) * 3,
        "A26887C6-C47B-4654-ABB5-DFADF7D3F804",
        "c0ffee00-1111-4222-8333-444444444444",
        "00000000-0000-4000-8000-000000000001",
    ),
)
TOKENS = ("demo-token",) * 12 + ("reader-token", "admin-token", "x", "", None)

# Long and of one piece, which is where time and memory are lost.
LENGTHS = st.sampled_from((1, 2, 17, 60, 256, 1025, 5000, 20000))
PIECES = st.sampled_from(
    (b" ", b"T", b"+", b"0", b"a", b"1 ", b",", b";q=", b"\xc3\xa9", b"%", b"/", b".", b":", b'"', b"[", b"<a>")
)
LONG = st.builds(lambda piece, times: (piece * times)[:20000], PIECES, LENGTHS)
TEXT = st.text(max_size=12).map(lambda text: text.encode(errors="surrogatepass"))
RAW = st.one_of(TEXT, st.binary(max_size=12), LONG)
# A header's value holds no end of line; what it holds else is for the server to judge.
VALUE = RAW.map(lambda raw: raw.translate(None, b"\r\n"))

WORDS = st.sampled_from(
    (b"..", b".", b"", b"\0", b"\n", b"servers", b"os-volume_attachments", b"extensions", b".json", b"%", b"\xff")
)
SEGMENT = st.one_of(WORDS, RAW)
ENDINGS = st.sampled_from((b"",) * 20 + (b"/", b".json", b".xml", b"//", b".xml/", b".yaml", b"/x/y"))
PROJECTS = st.sampled_from((b"",) * 16 + (b"/demo", b"/demo", b"/other", b"/servers", b"/%2e%2e", b"/x"))
LIST_PARAMS = ("GET",) * 6 + ("POST",) * 10 + ("HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "X")
OF_MEMBERS = ("GET",) * 6 + ("DELETE",) * 6 + ("PUT",) * 4 + ("HEAD", "POST", "TRACE", "CONNECT", "x")


def mostly(usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw the usual three times out of four."""
    return st.integers(0, 3).flatmap(lambda number: usual if number < 3 else other)


def _ids(ids: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    return mostly(st.sampled_from(ids).map(str.encode), SEGMENT)


def _quoted(raw: bytes) -> bytes:
    return quote_from_bytes(raw, safe="/-._~").encode()


@st.composite
def targets(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a method, and a path that is percent-encoded where it must be and elsewhere now and then."""
    base, servers, volumes = draw(st.sampled_from((CYCLADES, OPENSTACK)))
    server = _quoted(draw(_ids(servers)))
    path = base.encode() + draw(PROJECTS) + b"/servers/" + server + b"/os-volume_attachments"
    methods = LIST_PARAMS
    if draw(st.booleans()):
        path += b"/" + _quoted(draw(_ids(volumes)))
        methods = OF_MEMBERS
    path += draw(ENDINGS)
    if draw(st.integers(0, 9)) == 9:
        at = draw(st.integers(1, len(path) - 1))
        path = path[:at] + b"%%%02x" % path[at] + path[at + 1 :]
    return draw(st.sampled_from(methods)), path


PARAMETERS = st.sampled_from(
    (b"limit", b"offset", b"changes-since", b"changes-since", b"format", b"json", b"xml", b"x")
)
ARGUMENTS = st.one_of(
    st.sampled_from(
        (b"", b"0", b"1", b"json", b"xml", b"-1", b"2011-01-24T17:08Z", b"2011-01-24T17:08 02:00", b"9" * 400)
    ),
    RAW,
    LONG,
)
PAIRS = st.builds(lambda name, value: name + b"=" + quote_from_bytes(value).encode(), PARAMETERS, ARGUMENTS)
QUERIES = mostly(
    st.one_of(st.just(b""), st.just(b""), st.lists(PAIRS, min_size=1, max_size=3).map(b"&".join)),
    # What may not be in a request's first line is percent-encoded.
    RAW.map(lambda raw: quote_from_bytes(raw, safe="=&;+?/%:").encode()),
)

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.sampled_from((9, "9", *OPENSTACK[2]))
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.sampled_from(("volumeAttachment", "volumeId")), st.text(max_size=4)), inner, max_size=3
        ),
    ),
    max_leaves=6,
)
MEMBERS = st.fixed_dictionaries(
    {"volumeId": mostly(st.sampled_from((9, "9", 99, 1000, *OPENSTACK[2])), SCALARS)},
    optional={
        "device": st.one_of(st.sampled_from(("/dev/vdb", "/dev/" + "x" * 300, None)), SCALARS),
        "tag": SCALARS,
        "delete_on_termination": st.one_of(st.booleans(), st.sampled_from(("true", "1")), SCALARS),
        "id": SCALARS,
        "serverId": SCALARS,
    },
)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@st.composite
def json_bodies(draw: st.DrawFn) -> bytes:
    """Draw JSON, and what only looks so."""
    good = st.one_of(st.fixed_dictionaries({"volumeId": st.sampled_from((9, 99, *OPENSTACK[2]))}), MEMBERS).map(
        lambda members: _json({"volumeAttachment": members})
    )
    odd = st.one_of(
        JSON.map(_json),
        JSON.map(lambda value: json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")),
        st.builds(
            lambda depth, opening: opening * depth,
            st.sampled_from((10, 1000, 30000)),
            st.sampled_from((b"[", b'{"a":')),
        ),
        st.builds(b'{"volumeAttachment": {"volumeId": %s, "volumeId": %s}}'.__mod__, st.tuples(_numbers(), _numbers())),
        _numbers().map(lambda number: b'{"volumeAttachment": {"volumeId": %s}}' % number),
        good.map(lambda body: b"\xef\xbb\xbf" + body),
        good.map(lambda body: body.decode().encode("utf-16")),
        good.map(lambda body: body + b" " * 70000),
    )
    return draw(mostly(good, odd))


def _numbers() -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.sampled_from(
            (
                b"9",
                b"NaN",
                b"-Infinity",
                b"1e999",
                b"9" * 18,
                b"9" * 19,
                b"1" * 5000,
                b"9.0",
                b"-0",
                b'"\\ud800"',
                b'"\\u0000"',
            )
        ),
        st.integers().map(lambda number: b"%d" % number),
    )


BOMB = b'<!DOCTYPE a [<!ENTITY a "%s">%s]><volumeAttachment volumeId="&i;"/>' % (
    b"a" * 100,
    b"".join(b'<!ENTITY %c "%s">' % (letter + 1, b"&%c;" % letter * 10) for letter in b"abcdefgh"),
)
NAMESPACES = (
    b"",
    b"",
    b' xmlns="http://docs.openstack.org/compute/api/v1.1"',
    b' xmlns="x"',
    b' xmlns:a="b"',
    b' a:b="c"',
)
BEFORE = (
    b"", b"", b"<?xml version='1.0' encoding='UTF-8'?>", b"<?xml version='1.0' encoding='utf-16'?>", b"<?php x?>",
    b'<!DOCTYPE a SYSTEM "file:///etc/passwd">', b'<!DOCTYPE a [<!ENTITY x SYSTEM "http://127.0.0.1/">]>',
    b"\xef\xbb\xbf", b"<!-- -->",
)  # fmt: skip
INSIDE = (b"", b"", b"", b"<a/>", b"&x;", b"&#0;", b"<![CDATA[x]]>", b"<!--", b"]]>", b"<?a?>", b"text")


@st.composite
def xml_bodies(draw: st.DrawFn) -> bytes:
    """Draw XML, and what only looks so."""
    wide = b" ".join(b'a%d="%d"' % (number, number) for number in range(draw(st.sampled_from((1, 100, 5000)))))
    odd = st.one_of(
        st.just(BOMB),
        st.just(b"<a %s/>" % wide),
        st.just(b"<a>" * 20000),
        st.just(b'<a b="%s"/>' % (b"c" * 60000)),
        RAW,
    )
    values = st.one_of(st.sampled_from((b"9", b"99", *(each.encode() for each in OPENSTACK[2]))), TEXT)
    good = st.builds(
        lambda before, namespace, value, inside: (
            b'%s<volumeAttachment%s volumeId="%s">%s</volumeAttachment>' % (before, namespace, value, inside)
        ),
        st.sampled_from(BEFORE),
        st.sampled_from(NAMESPACES),
        values,
        st.sampled_from(INSIDE),
    )
    return draw(mostly(good, odd))


TYPES = (
    b"application/json",
    b"application/xml",
    b"application/vnd.openstack.compute+json",
    b"application/vnd.openstack.compute+xml",
)
CHARSETS = (b"", b"", b"; charset=UTF-8", b'; charset="utf-8"', b"; charset=latin-1", b"; charset=\xff", b";;=")
MEDIA = mostly(
    st.builds(lambda media_type, charset: media_type + charset, st.sampled_from(TYPES), st.sampled_from(CHARSETS)),
    st.one_of(
        st.sampled_from((b"*/*", b"", b"text/plain", b"application/json;q=0, application/xml;q=0.5", b"a/b;q=2")), VALUE
    ),
)
MICROVERSIONS = mostly(
    st.one_of(
        st.sampled_from((1, 49, 70, 79, 85, 89, 101, 104)).map(b"compute 2.%d".__mod__), st.just(b"compute latest")
    ),
    st.one_of(
        st.sampled_from(
            (
                b"compute 2.105",
                b"compute 2.0",
                b"compute 1.1",
                b"compute",
                b"volume 3.0",
                b"compute 2.1, compute 2.79",
                b"compute 2.x",
                b"2.79",
            )
        ),
        VALUE,
        LONG.map(lambda long: b"compute " + long.translate(None, b"\r\n")),
    ),
)
NAMES = st.sampled_from((
    b"Accept", b"Accept-Encoding", b"Range", b"If-Match", b"X-HTTP-Method-Override", b"X-Openstack-Request-Id",
    b"X-Roles", b"X-Project-Id", b"X-User-Id", b"X-Identity-Status", b"X-Service-Token", b"Cookie", b"Host",
    b"X-Forwarded-For", b"X-Auth-Token", b"OpenStack-API-Version", b"X-OpenStack-Nova-API-Version", b"Content-Type",
    b"Connection", b"X",
))  # fmt: skip
FRAMES = ("length",) * 12 + (
    "chunked",
    "chunked",
    "long",
    "short",
    "none",
    "both",
    "twice",
    "odd",
    "coding",
    "broken chunks",
)


@dataclass(frozen=True)
class Request:
    """A request. ``whole`` is whether its framing is valid, so that a response is required."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    whole: bool

    @property
    def path(self) -> str:
        """The path, as a server sees it."""
        return unquote_to_bytes(self.target.partition(b"?")[0]).decode(errors="backslashreplace")

    @property
    def raw(self) -> bytes:
        """The bytes to send."""
        lines = [self.method.encode() + b" " + self.target + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.headers]
        return b"\r\n".join((*lines, b"", self.body))


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Draw a request, of which each part is mostly good."""
    method, path = draw(targets())
    query = draw(QUERIES)
    target = path + (b"?" + query if query else b"")
    headers = [(b"Host", b"127.0.0.1")]
    token = draw(st.sampled_from(TOKENS))
    if token is not None:
        headers.append((b"X-Auth-Token", token.encode()))
    if draw(st.booleans()):
        headers.append((b"Accept", draw(MEDIA)))
    if draw(st.booleans()):
        headers.append((b"OpenStack-API-Version", draw(MICROVERSIONS)))
    body = b""
    if method in ("POST", "PUT") or draw(st.integers(0, 9)) == 9:
        xml = draw(st.booleans())
        body = draw(xml_bodies() if xml else json_bodies())
        headers.append((b"Content-Type", draw(mostly(st.just(TYPES[xml]), MEDIA))))
    frame = draw(st.sampled_from(FRAMES)) if body else "length"
    framing, sent = _framed(body, frame)
    headers += framing
    if draw(st.integers(0, 3)) == 3:
        headers += draw(st.lists(st.tuples(NAMES, VALUE), max_size=3))
    # waitress waits for more where the whole body came before its 100.
    expects = draw(st.integers(0, 9)) == 9
    if expects:
        headers.append((b"Expect", b"100-continue"))
    return Request(method, target, tuple(headers), sent, frame in ("length", "chunked", "none") and not expects)


def _framed(body: bytes, frame: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the headers that say where a body ends, and the body as it is sent."""
    half = len(body) // 2
    chunks = b"%x\r\n%s\r\n%x;a=b\r\n%s\r\n0\r\n\r\n" % (half, body[:half], len(body) - half, body[half:])
    chunks = chunks if half else b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    length, chunked = (b"Content-Length", b"%d" % len(body)), (b"Transfer-Encoding", b"chunked")
    return {
        "length": ([length] if body else [], body),
        "chunked": ([chunked], chunks),
        "long": ([(b"Content-Length", b"%d" % (len(body) + 1))], body),
        "short": ([(b"Content-Length", b"%d" % half)], body),
        "none": ([], b""),
        "both": ([length, chunked], chunks),
        "twice": ([length, (b"Content-Length", b"%d" % half)], body),
        "odd": ([(b"Content-Length", b"+%d" % len(body))], body),
        "coding": ([(b"Transfer-Encoding", b"gzip, chunked")], chunks),
        "broken chunks": ([chunked], b"zz\r\n" + body),
    }[frame]


def heavy() -> Iterator[Request]:
    """Yield what takes a process the most memory, so that it has had it before memory is looked at."""
    many = b"<a %s/>" % b" ".join(b'a%d="%d"' % (number, number) for number in range(5000))
    bodies = ((0, b"[" * 60000), (0, b'{"a":' * 10000), (0, b" " * 70000), (1, many), (1, b"<a>" * 20000), (1, BOMB))
    for number in range(25):
        for (base, servers, _), (xml, body) in itertools.product((CYCLADES, OPENSTACK), bodies):
            target = f"{base}/servers/{servers[0]}/os-volume_attachments".encode()
            headers = (
                (b"Host", b"127.0.0.1"),
                (b"X-Auth-Token", TOKENS[0].encode()),
                (b"Accept", (b"application/json, a/%d, " % number).ljust(4096, b"a")),
                (b"X", b"x" * 100000),
            )
            framing = ((b"Content-Type", TYPES[xml]), (b"Content-Length", b"%d" % len(body)))
            yield Request("POST", target, headers + framing, body, True)
            yield Request("GET", target + b"?changes-since=" + b"+" * 50000, headers, b"", True)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Draw a request of which some bytes are others, are missing, or are there twice."""
    raw = draw(requests()).raw[:4000]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.integers(0, 8)))
        middle = draw(
            st.one_of(
                st.binary(max_size=4), st.just(raw[start:end] * 2), st.sampled_from((b"\r\n", b"\r\n\r\n", b" ", b"\0"))
            )
        )
        raw = raw[:start] + middle + raw[end:]
    return raw
