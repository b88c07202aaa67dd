"""Whatever a request contains, its response is one that the API defines, in the requested format."""

import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from webob import Request
from webtest import lint

STATUSES = {200, 202, 400, 401, 403, 404, 405, 409, 413}
COLLECTION = "/compute/v2.0/servers/1134/os-volume_attachments"

METHODS = ("POST", "GET", "DELETE", "POST", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE")
# What the code looks for, so that more than chance finds it.
WORDS = st.sampled_from((
    "json", "xml", "format", "limit", "offset", "changes-since", "9", "99", "1000", "009", "2001", ".json", ".xml", "/",
    "=", "&", "?", ";", ":", "+", "-", "0", "1", " ", "2011-01-24T17:08Z", "2011-01-24", "24:00:00", "os-volumes",
    "extensions", "..", "%", "\0", "\x85", "\ud7ff", "\uffff", "😀", "٩",
))  # fmt: skip
TEXT = st.lists(st.one_of(WORDS, st.text(max_size=5)), max_size=6).map("".join)
RAW = st.one_of(TEXT.map(lambda text: text.encode(errors="surrogatepass")), st.binary(max_size=12))
MEDIA = st.sampled_from((
    "application/json", "application/xml", "application/vnd.openstack.compute+xml", "text/plain", "*/*", ";q=", "0.5",
    "application/json;q=0.1, application/xml", ", ", "; charset=", "utf-8", "latin-1", "", "\xff", '"',
))  # fmt: skip
HEADER = st.lists(
    st.one_of(MEDIA, st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=5)), max_size=4
).map("".join)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from((9, "9", "x", "")), st.text(max_size=5)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.one_of(st.sampled_from(("volumeAttachment", "volumeId", "device")), st.text(max_size=3)),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)
ATTACHES = VALUES.map(lambda value: {"volumeAttachment": {"volumeId": value}})
XML = st.builds(
    '<{0}volumeAttachment {1}="{2}">{3}</volumeAttachment>'.format,
    st.sampled_from(("", "x:", "?xml version='1.0' encoding='latin-1'?><", "!DOCTYPE a><")),
    st.sampled_from(("volumeId", "device", "xmlns", "x:volumeId")),
    st.text(max_size=4),
    st.sampled_from(("", "<a/>", "&a;", "<!--", "]]>")),
).map(lambda text: text.encode(errors="surrogatepass"))
BODY = st.one_of(
    st.binary(max_size=40),
    st.one_of(VALUES, ATTACHES).map(lambda value: json.dumps(value).encode()),
    st.one_of(VALUES, ATTACHES).map(lambda value: json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")),
    XML,
    st.sampled_from((b'{"volumeAttachment": {"volumeId": 9}}', b'<volumeAttachment volumeId="9"/>', b" " * 65537)),
)
TOKENS = st.sampled_from((*["demo-token"] * 5, "reader-token", "admin-token", "x", None))


@pytest.fixture
def app(sample):
    """Give the sample behind the checks of a strict server; its state lasts from one example to the next."""
    return lint.middleware(sample.app)


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    method=st.sampled_from(METHODS),
    suffix=st.one_of(st.just(b""), st.just(b"/9"), st.sampled_from((b"/", b"/9/", b".xml", b"/9.json")), RAW),
    query=st.one_of(st.just(b""), RAW),
    accept=st.one_of(st.none(), HEADER),
    content_type=st.one_of(st.sampled_from((None, "application/json", "application/xml")), HEADER),
    body=BODY,
    token=TOKENS,
)
def test_every_response_is_one_that_the_api_defines(app, method, suffix, query, accept, content_type, body, token):
    request = Request.blank(COLLECTION, method=method, body=body)
    # As a server leaves them: the path's bytes one a character, the query as it came.
    request.environ["PATH_INFO"] = COLLECTION + suffix.decode("latin-1")
    request.environ["QUERY_STRING"] = quote(query, safe="=&;+?/%:")
    for key, value in {"HTTP_ACCEPT": accept, "CONTENT_TYPE": content_type, "HTTP_X_AUTH_TOKEN": token}.items():
        request.environ.pop(key, None)
        if value is not None:
            request.environ[key] = value
    response = request.get_response(app)
    assert response.status_int in STATUSES
    assert response.headers["X-Openstack-Request-Id"].startswith("req-")
    if not response.body:
        assert response.status_int in (200, 202) or method == "HEAD"
    elif response.content_type == "application/xml":
        assert etree.fromstring(response.body) is not None
    else:
        assert response.content_type == "application/json"
        assert isinstance(json.loads(response.body), dict)
