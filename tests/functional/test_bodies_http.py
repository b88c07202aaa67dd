"""The bodies of requests, over HTTP: each invalid one gets a 400 that names the mistake."""

import json

import pytest
from lxml import etree

only_cyclades = pytest.mark.parametrize("dialect", ["cyclades"], indirect=True)
only_openstack = pytest.mark.parametrize("dialect", ["openstack"], indirect=True)
only_json = pytest.mark.parametrize("format", ["json"], indirect=True)
only_xml = pytest.mark.parametrize("format", ["xml"], indirect=True)

NAMESPACE = "http://docs.openstack.org/compute/api/v1.1"
BOM = b"\xef\xbb\xbf"
MAX_BODY = 65536
LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a0 "lol">'
    + b"".join(b'<!ENTITY a%d "%s">' % (i, b"&a%d;" % (i - 1) * 10) for i in range(1, 10))
    + b']><volumeAttachment volumeId="9">&a9;</volumeAttachment>'
)


class Unreadable:
    """A body that must not be touched."""

    def _fail(self, *arguments):
        raise AssertionError("the body was read")

    read = readline = readlines = __iter__ = _fail


def refused(response, message):
    """Check that a response is a 400 with just that message."""
    assert response.failure == ("badRequest", 400)
    assert response.fault.message == message


def post(client, body, **more):
    return client.request("POST", client.path(), body, **more)


@pytest.mark.changes_nothing
class TestWrongInJson:
    """Bodies that no dialect takes."""

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b" ", "The body is not JSON: line 1, column 2."),
            (b"not json", "The body is not JSON: line 1, column 1."),
            (b'{"volumeAttachment":\n {"volumeId": 9}', "The body is not JSON: line 2, column 17."),
            (b'{"volumeAttachment": {"volumeId": 9}} x', "The body is not JSON: line 1, column 39."),
            (b"{'volumeAttachment': {}}", "The body is not JSON: line 1, column 2."),
            (b"null", "The body must be an object, not null."),
            (b"[]", "The body must be an object, not an array."),
            (b"9", "The body must be an object, not the number 9."),
            (b"true", "The body must be an object, not a boolean."),
            (b'"volumeAttachment"', "The body must be an object, not 'volumeAttachment'."),
            (b"{}", "The body must have the member volumeAttachment."),
            (b'{"volumeattachment": {"volumeId": 9}}', "The body must have the member volumeAttachment."),
            (b'{"volumeAttachment": null}', "volumeAttachment must be an object, not null."),
            (b'{"volumeAttachment": 9}', "volumeAttachment must be an object, not the number 9."),
            (b'{"volumeAttachment": [{"volumeId": 9}]}', "volumeAttachment must be an object, not an array."),
            (b'{"volumeAttachment": ""}', "volumeAttachment must be an object, not an empty string."),
            (b'{"volumeAttachment": {}}', "The body must have the member volumeId."),
            (b'{"volumeAttachment": {"volumeId": NaN}}', "The body's JSON has NaN, which is not a JSON value."),
            (b'{"volumeAttachment": Infinity}', "The body's JSON has Infinity, which is not a JSON value."),
            (b"-Infinity", "The body's JSON has -Infinity, which is not a JSON value."),
            (
                b'{"volumeAttachment": {"volumeId": 9, "volumeId": 9}}',
                "The body's JSON has a member of an object twice.",
            ),
            (
                b'{"volumeAttachment": {"volumeId": 9}, "volumeAttachment": {"volumeId": 99}}',
                "The body's JSON has a member of an object twice.",
            ),
            (b"9" * 5000, "The body's JSON has a number that is too long."),
            (
                b'{"volumeAttachment": {"volumeId": %s}}' % (b"9" * 5000),
                "The body's JSON has a number that is too long.",
            ),
            (b'{"volumeAttachment": {"volumeId": "\xe9"}}', "The body must be UTF-8, but byte 36 is not."),
            (b'{"volumeAttachment": {"volumeId": "\xed\xa0\x80"}}', "The body must be UTF-8, but byte 36 is not."),
            ('{"volumeAttachment": {"volumeId": 9}}'.encode("utf-16"), "The body must be UTF-8, but byte 1 is not."),
            ("{}".encode("utf-16-le"), "The body is not JSON: line 1, column 2."),
        ],
    )
    @only_json
    def test_is_400_with_the_reason(self, client, body, message):
        refused(post(client, body), message)

    @only_json
    def test_the_specifications_own_example_has_a_trailing_comma(self, client):
        body = b'{\n    "volumeAttachment": {\n        "volumeId": 9,\n    }\n}\n'
        response = post(client, body)
        assert response.failure == ("badRequest", 400)
        assert "a trailing comma before '}'" in response.fault.message
        assert "line 3, column 22" in response.fault.message or "line 4, column 5" in response.fault.message

    @pytest.mark.parametrize(
        "body",
        [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000],
        ids=["arrays", "objects", "closed"],
    )
    @only_json
    def test_nesting_is_a_400(self, start, paste_file, client_of, body):
        client = client_of(start(paste_file(without="size_limit", max_body=str(2**20))))
        response = post(client, body)
        assert response.failure == ("badRequest", 400)
        assert "nested too deeply" in response.fault.message

    @pytest.mark.parametrize(
        ("value", "called"),
        [
            ("null", "null"),
            ("true", "a boolean"),
            ("false", "a boolean"),
            ("9.0", "a number with a fraction or an exponent"),
            ("1e1", "a number with a fraction or an exponent"),
            ('""', "an empty string"),
            ("{}", "an object"),
            ("[9]", "an array"),
            ('" 9"', "' 9'"),
            ('"+9"', "'+9'"),
            ('"9_9"', "'9_9'"),
            ('"٩"', "'٩'"),
            ('"0x9"', "'0x9'"),
            ('"9\\n"', "'9\\\\n'"),
            (f'"{"9" * 19}"', f"'{'9' * 19}'"),
            (f'"{"x" * 1000}"', f"'{'x' * 50}'"),
            ("-9", "the number -9"),
            (str(10**18), f"the number {10**18}"),
            (str(10**100), "a number of more than 50 digits"),
        ],
    )
    @only_json
    def test_a_volume_id_of_the_wrong_kind_is_called_by_its_name(self, client, value, called):
        syntax = {
            "cyclades": "an integer of up to 18 digits",
            "openstack": "a UUID such as a26887c6-c47b-4654-abb5-dfadf7d3f803",
        }[client.dialect.name]
        body = f'{{"volumeAttachment": {{"volumeId": {value}}}}}'.encode()
        refused(post(client, body), f"volumeId must be {syntax}, not {called.replace(chr(92) * 2, chr(92))}.")

    @only_openstack
    @only_json
    def test_a_number_is_no_id_where_ids_are_strings(self, client):
        response = post(client, b'{"volumeAttachment": {"volumeId": 9}}')
        assert response.failure == ("badRequest", 400)
        assert response.fault.message.endswith(", not the number 9.")


@pytest.mark.changes_nothing
class TestWrongInXml:
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"not xml", "The body is not XML: line 1, column 1."),
            (b"<volumeAttachment", "The body is not XML: line 1, column 18."),
            (b"<a>\n<b></a>", "The body is not XML: line 2, column 8."),
            (b"<volumeAttachment/>", "The body must have the member volumeId."),
            (b'<volumeattachment volumeId="9"/>', "The body must have the member volumeAttachment."),
            (b'<a volumeId="9"/>', "The body must have the member volumeAttachment."),
            (
                b'<volumeAttachment xmlns="urn:other" volumeId="9"/>',
                f"The body's XML must be in the namespace {NAMESPACE}, or in none.",
            ),
            (
                b"<volumeAttachment><volumeId>9</volumeId></volumeAttachment>",
                "The body's XML must have its members as attributes of one element.",
            ),
            (
                b'<volumeAttachments><volumeAttachment volumeId="9"/></volumeAttachments>',
                "The body's XML must have its members as attributes of one element.",
            ),
            (
                b'<!DOCTYPE volumeAttachment><volumeAttachment volumeId="9"/>',
                "The body's XML must not have a DOCTYPE.",
            ),
            (
                b'<!DOCTYPE a [<!ENTITY nine "9">]><volumeAttachment volumeId="&nine;"/>',
                "The body's XML must not have a DOCTYPE.",
            ),
            (
                b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
                b'<volumeAttachment volumeId="9">&x;</volumeAttachment>',
                "The body's XML must not have a DOCTYPE.",
            ),
            (
                b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><volumeAttachment volumeId="9"/>',
                "The body's XML must not have a DOCTYPE.",
            ),
            (LAUGHS, "The body's XML must not have a DOCTYPE."),
            (
                b'<?xml version="1.0" encoding="ISO-8859-1"?><volumeAttachment volumeId="9"/>',
                "The body must be UTF-8, but its XML declares encoding 'ISO-8859-1'.",
            ),
            (b'<volumeAttachment volumeId="\xe9"/>', "The body must be UTF-8, but byte 29 is not."),
            ('<volumeAttachment volumeId="9"/>'.encode("utf-16"), "The body must be UTF-8, but byte 1 is not."),
        ],
    )
    @only_xml
    def test_is_400_with_the_reason(self, client, body, message):
        refused(post(client, body), message)

    @pytest.mark.parametrize(
        "body",
        [
            b'<volumeAttachment volumeId="&nine;"/>',
            b'<volumeAttachment volumeId="9">&nine;</volumeAttachment>',
            b'<volumeAttachment volumeId="9" volumeId="99"/>',
            b'<volumeAttachment volumeId="\x01"/>',
            b'<volumeAttachment volumeId="&#1;"/>',
            b'<volumeAttachment volumeId="9"/><volumeAttachment volumeId="9"/>',
            b'<x:volumeAttachment volumeId="9"/>',
            b"",
        ],
    )
    @only_xml
    def test_what_is_not_well_formed_is_400_with_the_place(self, client, body):
        response = client.request("POST", client.path(), body or b"   ")
        assert response.failure == ("badRequest", 400)
        assert response.fault.message.startswith("The body is not XML: line 1, column ")

    @only_xml
    def test_nesting_is_a_400(self, start, paste_file, client_of):
        client = client_of(start(paste_file(without="size_limit", max_body=str(2**20))))
        response = post(client, b"<a>" * 100_000 + b"</a>" * 100_000)
        assert response.failure == ("badRequest", 400)
        assert response.fault.message.startswith("The body is not XML: line 1, column ")

    @pytest.mark.parametrize("value", ["", " 9", "+9", "9_9", "9.0", "٩", "1" * 19, "null"])
    @only_xml
    def test_a_malformed_volume_id_is_named(self, client, value):
        response = post(client, etree.tostring(etree.Element("volumeAttachment", {"volumeId": value})))
        assert response.failure == ("badRequest", 400)
        assert response.fault.message.endswith(f", not {value!r}." if value else ", not an empty string.")

    @only_xml
    def test_an_external_entity_is_not_read(self, client, tmp_path):
        secret = tmp_path / "secret"
        secret.write_text("of this machine")
        body = f'<!DOCTYPE a [<!ENTITY x SYSTEM "{secret.as_uri()}">]><volumeAttachment volumeId="&x;"/>'
        assert b"of this machine" not in post(client, body.encode()).body

    @only_xml
    def test_a_namespaced_attribute_is_not_the_member(self, client):
        response = post(client, b'<volumeAttachment xmlns:x="urn:x" x:volumeId="9"/>')
        assert response.failure == ("badRequest", 400)


class TestRight:
    """Bodies that look odd and mean something."""

    def attached(self, client, body, **more):
        response = post(client, body, **more)
        assert (response.status, response.attachment) == (200, client.shown())

    def test_a_byte_order_mark_is_skipped(self, client):
        self.attached(client, BOM + client.format.request(client.dialect.number(client.dialect.volume)))

    @pytest.mark.parametrize("before", [b"", BOM])
    @pytest.mark.parametrize("encoding", ["UTF-8", "utf-8"])
    @only_xml
    def test_a_declaration_of_utf_8_is_accepted(self, client, before, encoding):
        declaration = f'<?xml version="1.0" encoding="{encoding}"?>\n'.encode()
        self.attached(client, before + declaration + client.format.request(client.dialect.volume))

    @only_xml
    def test_comments_instructions_and_space_mean_nothing(self, client):
        element = client.format.request(client.dialect.volume).replace(
            b"/>", b"><!-- a --> <?b c?>\n</volumeAttachment>"
        )
        self.attached(client, b"<?a b?>\n<!-- c -->" + element + b"\n<!-- d -->")

    @only_json
    def test_space_and_escapes_mean_nothing(self, client):
        volume = json.dumps(client.dialect.number(client.dialect.volume))
        self.attached(client, f'\r\n\t {{ "volume\\u0041ttachment" :\n{{"volumeId":{volume} }} }}\n '.encode())

    @only_cyclades
    @only_json
    @pytest.mark.parametrize("value", ["9", '"9"', '"009"', f'"{"0" * 17}9"'])
    def test_an_integer_and_its_digits_mean_the_same(self, client, value):
        self.attached(client, f'{{"volumeAttachment": {{"volumeId": {value}}}}}'.encode())

    @only_json
    def test_a_body_of_exactly_the_limit_is_fine(self, client):
        body = client.format.request(client.dialect.number(client.dialect.volume))
        self.attached(client, body.ljust(MAX_BODY))

    @pytest.mark.parametrize(
        "parameters", ["", "; charset=utf-8", ";charset=UTF8", '; charset="UTF-8"', "; version=2.1"]
    )
    def test_a_content_type_may_have_parameters(self, client, parameters):
        body = client.format.request(client.dialect.number(client.dialect.volume))
        self.attached(client, body, headers={"Content-Type": client.format.media_type + parameters})

    @pytest.mark.parametrize("word", ["application/vnd.openstack.compute+{}", "APPLICATION/{}"])
    def test_a_content_type_has_other_names(self, client, word):
        body = client.format.request(client.dialect.number(client.dialect.volume))
        self.attached(client, body, headers={"Content-Type": word.format(client.format.name)})


class TestUnknownMembers:
    @only_cyclades
    @only_json
    def test_are_ignored_in_cyclades(self, client):
        body = b'{"volumeAttachment": {"volumeId": 9, "tag": "x", "id": [1]}, "other": null}'
        assert post(client, body).attachment == client.shown()

    @only_cyclades
    @only_xml
    def test_are_ignored_in_cyclades_in_xml(self, client):
        body = b'<volumeAttachment volumeId="9" tag="x" xmlns:y="urn:y" y:z="1"/>'
        assert post(client, body).attachment == client.shown()

    @only_openstack
    def test_are_400_in_openstack_and_the_member_is_named(self, client):
        volume = client.dialect.volume
        refused(post(client, client.format.request(volume, tag="x")), "The body has the unknown member 'tag'.")
        assert client.list().attachments == []

    @only_openstack
    @only_json
    def test_are_400_in_openstack_beside_the_attachment_too(self, client):
        body = json.dumps({"volumeAttachment": {"volumeId": client.dialect.volume}, "other": 1}).encode()
        refused(post(client, body), "The body has the unknown member 'other'.")


@pytest.mark.changes_nothing
class TestContentType:
    ACCEPTED = (
        "must be one of application/json, application/vnd.openstack.compute+json, "
        "application/xml, application/vnd.openstack.compute+xml."
    )

    @pytest.mark.parametrize(
        "content_type",
        ["text/plain", "application/x-www-form-urlencoded", "text/xml", "json", ";", "application/json5"],
    )
    def test_another_one_is_refused_with_what_is_accepted(self, client, content_type):
        body = client.format.request(client.dialect.volume)
        response = post(client, body, headers={"Content-Type": content_type})
        assert response.failure == client.dialect.media_type_fault
        assert response.fault.message == f"Content-Type {self.ACCEPTED}"

    @only_openstack
    def test_that_of_a_put_is_refused_in_the_same_way(self, client):
        path = client.path(volume=client.dialect.volume)
        response = client.by("admin").request("PUT", path, b"x", headers={"Content-Type": "text/plain"})
        assert response.failure == ("badMediaType", 415)

    def test_a_missing_one_is_400_and_names_what_is_accepted(self, client):
        body = client.format.request(client.dialect.volume)
        for without in ({"without": ("CONTENT_TYPE",)}, {"headers": {"Content-Type": ""}}):
            refused(post(client, body, **without), f"Content-Type is missing; it {self.ACCEPTED}")

    @pytest.mark.parametrize("charset", ["latin-1", "utf-16", "ascii", '"ISO-8859-1"'])
    def test_another_charset_is_400(self, client, charset):
        body = client.format.request(client.dialect.volume)
        content_type = f"{client.format.media_type}; charset={charset}"
        refused(
            post(client, body, headers={"Content-Type": content_type}),
            f"The body must be UTF-8, but its Content-Type has charset {charset.strip(chr(34))!r}.",
        )

    def test_the_other_formats_body_is_400(self, client):
        other = {"json": "application/xml", "xml": "application/json"}[client.format.name]
        response = post(client, client.format.request(client.dialect.volume), headers={"Content-Type": other})
        assert response.failure == ("badRequest", 400)
        assert response.fault.message.startswith("The body is not ")


class TestLength:
    TOO_LARGE = "The body must have at most 65536 bytes."

    @pytest.mark.changes_nothing
    def test_a_missing_one_is_400(self, client):
        body = client.format.request(client.dialect.volume)
        refused(post(client, body, without=("CONTENT_LENGTH",)), "Content-Length is missing.")

    def test_a_chunked_body_has_none_and_is_read_to_its_end(self, client):
        body = client.format.request(client.dialect.number(client.dialect.volume))
        response = post(
            client,
            body,
            environ={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
            without=("CONTENT_LENGTH",),
        )
        assert (response.status, response.attachment) == (200, client.shown())

    def test_a_chunked_body_whose_end_the_server_hides_is_400(self, start, paste_file, client_of):
        # oslo.middleware's sizelimit declares the end of every body without a length as passed on.
        client = client_of(start(paste_file(without="size_limit")))
        body = client.format.request(client.dialect.volume)
        response = post(client, body, environ={"HTTP_TRANSFER_ENCODING": "chunked"}, without=("CONTENT_LENGTH",))
        refused(response, "Content-Length is missing.")

    def test_a_chunked_body_over_the_limit_is_413(self, client):
        response = post(
            client,
            b" " * (MAX_BODY + 1),
            environ={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
            without=("CONTENT_LENGTH",),
        )
        assert (response.failure, response.fault.message) == (("overLimit", 413), self.TOO_LARGE)

    @pytest.mark.changes_nothing
    def test_a_body_over_the_limit_is_413_and_not_read(self, client):
        response = client.request(
            "POST",
            client.path(),
            headers={"Content-Type": client.format.media_type, "Content-Length": str(MAX_BODY + 1)},
            environ={"wsgi.input": Unreadable()},
        )
        assert (response.failure, response.fault.message) == (("overLimit", 413), self.TOO_LARGE)

    def test_the_limit_is_the_operators_choice(self, start, paste_file, client_of):
        client = client_of(start(paste_file(max_body="10")))
        response = client.attach()
        assert (response.failure, response.fault.message) == (
            ("overLimit", 413),
            "The body must have at most 10 bytes.",
        )

    @pytest.mark.changes_nothing
    def test_a_body_that_ends_early_is_400(self, client):
        body = client.format.request(client.dialect.volume)
        response = post(client, body, headers={"Content-Length": str(len(body) + 1)})
        refused(response, f"The body ended after {len(body)} of {len(body) + 1} bytes.")

    @pytest.mark.changes_nothing
    def test_an_empty_body_is_400(self, client):
        response = client.request(
            "POST", client.path(), headers={"Content-Type": client.format.media_type, "Content-Length": "0"}
        )
        assert response.failure == ("badRequest", 400)
        assert response.fault.message.startswith(f"The body is not {client.format.name.upper()}")


class TestIgnored:
    """Bodies of other methods are neither read nor looked at."""

    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Length": "1000000000", "Content-Type": "application/json"},
            {"Transfer-Encoding": "chunked"},
            {"Content-Length": "7", "Content-Type": "nonsense"},
            {"Content-Type": "application/xml; charset=latin-1"},
        ],
        ids=["huge", "chunked", "nonsense", "charset"],
    )
    def test_a_body_of_get_and_delete_is_not_read(self, start, paste_file, client_of, headers):
        client = client_of(start(paste_file(without="size_limit")))
        unread = {"headers": headers, "environ": {"wsgi.input": Unreadable()}}
        client.attach()
        assert client.request("GET", client.path(), **unread).attachments == [client.shown()]
        path = client.path(volume=client.dialect.volume)
        assert client.request("GET", path, **unread).attachment == client.shown()
        assert client.request("HEAD", path, **unread).status == 200
        assert client.request("PATCH", path, **unread).status == 405
        assert client.request("DELETE", path, **unread).status == client.dialect.detach_status

    @pytest.mark.changes_nothing
    def test_a_body_of_a_forbidden_request_is_not_read(self, client):
        unread = {
            "headers": {"Content-Length": "9", "Content-Type": client.format.media_type},
            "environ": {"wsgi.input": Unreadable()},
        }
        assert client.by(None).request("POST", client.path(), **unread).status == 401
        assert client.by("reader").request("POST", client.path(), **unread).status == 403


@pytest.mark.changes_nothing
class TestEchoes:
    """What a request held is legal in either format when a fault repeats it."""

    @pytest.mark.parametrize(
        "value", ["\\u0000", "\\u0001\\u001f", "\\ufffe\\uffff", "\\ud800", "\\udfff\\ud800", "\\u007f"]
    )
    @only_json
    def test_a_volume_id_in_the_body(self, client, value):
        for query in ("?json", "?xml"):
            body = f'{{"volumeAttachment": {{"volumeId": "{value}"}}}}'.encode()
            response = client.request("POST", client.path() + query, body)
            assert response.failure == ("badRequest", 400)
            assert ", not '\\" in response.fault.message

    @only_openstack
    @only_json
    @pytest.mark.parametrize("name", ["\\u0000", "\\ud800", "<&>"])
    def test_an_unknown_member(self, client, name):
        for query in ("?json", "?xml"):
            body = f'{{"volumeAttachment": {{"volumeId": "{client.dialect.volume}", "{name}": 1}}}}'.encode()
            response = client.request("POST", client.path() + query, body)
            assert response.failure == ("badRequest", 400)
            assert response.fault.message.startswith("The body has the unknown member ")

    @pytest.mark.parametrize(
        ("raw", "shown"),
        [
            ("%01", "\\u0001"),
            ("%00", "\\u0000"),
            ("%0C%1B", "\\u000c\\u001b"),
            ("%EF%BF%BF", "\\uffff"),
            ("%ED%A0%80", "\\xed\\xa0\\x80"),
            ("%FF", "\\xff"),
            ("%C3%A9", "é"),
            ("%F0%9F%98%80", "😀"),
            ("%3Ca%26%22%3E", '<a&">'),
        ],
    )
    def test_an_id_in_the_path(self, client, raw, shown):
        for response in (client.list(raw), client.show(volume=raw), client.attach(raw), client.detach(raw, raw)):
            assert response.failure == ("itemNotFound", 404)
            assert shown in response.fault.message
