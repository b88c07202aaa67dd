"""The options of the libvirt backend; no libvirt is connected."""

import socket

import pytest

from os_volume_ext.backends.base import BackendUnavailable, ConfigurationError

pytest.importorskip("libvirtmod", reason="libvirt's Python binding is missing: pip install '.[libvirt]'")

from os_volume_ext.backends.libvirt.backend import LibvirtBackend


def test_there_is_a_default_for_each():
    assert not LibvirtBackend({}).needs_host


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({"uri": "qemu+tls://{host}/system"}, True),
        ({"domain": "{instance_name}"}, True),
        ({"domain": "snf-{id}"}, False),
    ],
)
def test_the_host_is_needed_where_users_do_not_see_it(options, needed):
    assert LibvirtBackend(options).needs_host is needed


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"url": "qemu:///system"}, r"backend\.url is unknown: .*backend\.uri"),
        ({"uri": ""}, r"backend\.uri"),
        ({"uri": "qemu://{hots}/system"}, r"backend\.uri .*\{host\}"),
        ({"uri": "qemu://{host"}, r"backend\.uri"),
        ({"uri": "qemu://{host!r}/system"}, r"backend\.uri"),
        ({"uri": "qemu://{host.name}/system"}, r"backend\.uri"),
        ({"uri": "qemu://{}/system"}, r"backend\.uri"),
        ({"domain": ""}, r"backend\.domain"),
        ({"domain": "{name}"}, r"backend\.domain .*\{id\} and \{instance_name\}"),
        ({"domain": "{id:>9}"}, r"backend\.domain"),
        ({"bus": "ide"}, r"backend\.bus is 'ide': it must be scsi or virtio"),
        ({"bus": ""}, r"backend\.bus"),
        ({"connect_timeout": "0"}, r"backend\.connect_timeout"),
        ({"detach_timeout": "soon"}, r"backend\.detach_timeout is 'soon'"),
        ({"detach_timeout": "-1"}, r"backend\.detach_timeout"),
        ({"detach_timeout": "٣"}, r"backend\.detach_timeout"),
        ({"probe_timeout": "-1"}, r"backend\.probe_timeout is '-1': .* from 0 to 999999"),
        ({"probe_timeout": "50"}, r"backend\.connect_timeout \(10\) and backend\.probe_timeout \(50\).*\(60\)"),
        ({"ceph_conf": "ceph.conf"}, r"backend\.ceph_conf is 'ceph\.conf': it must be an absolute path"),
        ({"ceph_conf": "/etc/ce\nph"}, r"backend\.ceph_conf"),
        ({"detach_timeout": "50"}, r"backend\.connect_timeout \(10\) and backend\.detach_timeout \(50\).*\(60\)"),
    ],
)
def test_a_wrong_option_is_refused_with_what_it_may_be(options, reason):
    with pytest.raises(ConfigurationError, match=reason):
        LibvirtBackend({"operation_timeout": "60", **options})


def test_the_time_limits_follow_the_operations():
    LibvirtBackend({"operation_timeout": "6"})
    LibvirtBackend({"operation_timeout": "600", "detach_timeout": "400", "connect_timeout": "100"})
    with pytest.raises(ConfigurationError, match=r"connect_timeout \(1\) and backend\.detach_timeout \(5\).*\(6\)"):
        LibvirtBackend({"operation_timeout": "6", "detach_timeout": "5"})
    with pytest.raises(ConfigurationError, match=r"connect_timeout \(400\) and backend\.detach_timeout \(200\)"):
        LibvirtBackend({"operation_timeout": "600", "connect_timeout": "400"})


def test_a_password_in_the_uri_is_not_shown():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"qemu+tcp://u:hush@127.0.0.1:{silent.getsockname()[1]}/system"
        with pytest.raises(BackendUnavailable) as raised:
            LibvirtBackend({"uri": uri, "connect_timeout": "1"}).check()
    assert str(raised.value) == f"{uri.replace('hush', '***')} did not respond within 1 seconds"


@pytest.mark.parametrize(
    "text", ["", "storage", "rados:", "rados:volumes", "rados:?user=cinder", "rados:volumes?user=", "rados:-p?user=-n"]
)
def test_a_fence_that_is_none_is_refused_with_its_syntax(text):
    with pytest.raises(ConfigurationError, match=r"backend\.fence is .*: it must be rados:POOL\?user=USER"):
        LibvirtBackend({"fence": text})


@pytest.mark.parametrize("missing", ["rados", "rbd", "ceph"])
def test_a_fence_requires_the_commands_of_ceph(monkeypatch, tmp_path, missing):
    for program in {"rados", "rbd", "ceph"} - {missing}:
        (tmp_path / program).touch(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=f"requires the command {missing}: install the package ceph-common"):
        LibvirtBackend({"fence": "rados:volumes?user=cinder"})


def test_a_backend_refuses_a_second_server_only_with_a_fence(monkeypatch, tmp_path):
    for program in ("rados", "rbd", "ceph"):
        (tmp_path / program).touch(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert LibvirtBackend({"fence": "rados:volumes?user=cinder"}).refuses_second_server
    assert not LibvirtBackend({}).refuses_second_server
