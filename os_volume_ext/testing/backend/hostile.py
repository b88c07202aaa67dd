"""Ids, sources and formats that catalogs should reject, and that must do no harm if one does not."""

from dataclasses import replace

import pytest

from ...backends.base import AttachRefused, BackendError, BackendUnavailable
from ..expectations import must_raise, must_succeed
from .checks import assert_has, must_attach, must_detach
from .declarations import Declarations

HOSTILE_NAMES = (
    "",
    ".",
    "..",
    "../escape",
    "/",
    "a/b",
    "nul\0byte",
    "line\nbreak",
    "-option",
    "'; x",
    "*",
    "{0}%s",
    "\udcff",
    "x" * 300,
)
HOSTILE_SOURCES = ("", "..", "nul\0byte", "/nul\0byte", "/line\nbreak", "-option", "\udcff", "a:b", "/" + "x" * 5000)
HOSTILE_FORMATS = ("", "raw\n", "nul\0byte", "../raw", "\udcff", "x" * 300)


class HostileInput(Declarations):
    """What clients may send."""

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_a_hostile_server_id_raises_backend_errors_only(self, backend, server, volume, name):
        hostile = replace(server, id=name, instance_name=None)
        with must_raise(BackendError, f"attach to a server {name!r}"):
            backend.attach(hostile, volume, None)
        with must_raise(BackendError, f"detach from a server {name!r}"):
            backend.detach(hostile, volume, None)
        with must_raise(BackendError, f"attached of a server {name!r}"):
            backend.attached(hostile)

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_a_hostile_volume_id_is_attached_or_refused(self, backend, server, volume, name):
        _assert_attached_or_refused(backend, server, replace(volume, id=name), f"attach of a volume {name!r}")

    @pytest.mark.parametrize("source", HOSTILE_SOURCES, ids=lambda source: ascii(source[:20]))
    def test_a_hostile_source_is_attached_or_refused(self, backend, server, volume, source):
        _assert_attached_or_refused(
            backend, server, replace(volume, source=source), f"attach of a volume with the source {source[:20]!r}"
        )

    @pytest.mark.parametrize("name", HOSTILE_FORMATS, ids=lambda name: ascii(name[:20]))
    def test_a_hostile_format_is_attached_or_refused(self, backend, server, volume, name):
        _assert_attached_or_refused(
            backend, server, replace(volume, format=name), f"attach of a volume with the format {name[:20]!r}"
        )

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_a_hostile_volume_id_detaches_nothing_else(self, backend, server, volume, name):
        device = must_attach(backend, server, volume)
        with must_succeed(f"detach of a volume {name!r}", BackendError):
            backend.detach(server, replace(volume, id=name, source=None, format=None), device)
        assert_has(backend, server, {volume.id: device}, f"after the detach of a volume {name!r}")


def _assert_attached_or_refused(backend, server, volume, what):
    with must_succeed(what, AttachRefused, BackendUnavailable) as refused:
        device = backend.attach(server, volume, None)
    if refused.error:
        assert not _shows(refused.error, volume.source), f"clients read the message, which shows the source: {refused}"
        assert_has(backend, server, {}, f"after a refused {what}")
        return
    assert_has(backend, server, {volume.id: device}, f"after an {what}")
    must_detach(backend, server, volume, device)
    assert_has(backend, server, {}, f"after an {what}, and its detach")


def _shows(error, source):
    is_telling = source is not None and len(source) > 3  # others may be in a message by chance
    return isinstance(error, AttachRefused) and is_telling and source in str(error)
