"""Cinder's ``connection_info`` in libvirt's XML, without Cinder and libvirt."""

import pytest
from lxml import etree

from os_volume_ext.backends.base import AttachRefused, Volume
from os_volume_ext.backends.libvirt import sources
from os_volume_ext.backends.libvirt.connection_info import credentials
from os_volume_ext.backends.libvirt.disks import Definition, View

SECRET = "5ecae0b2-7f0f-4c6f-8a36-9a1c0b7d3e21"
PASSWORD = "hush-hush"
RBD = {
    "driver_volume_type": "rbd",
    "name": "volumes/volume-9",
    "hosts": ["192.0.2.1", "fd00::2", "[fd00::3]"],
    "ports": ["6789", 6790, "6791"],
    "cluster_name": "ceph",
    "auth_enabled": True,
    "auth_username": "cinder",
    "secret_type": "ceph",
    "secret_uuid": SECRET,
    "volume_id": "9",
    "discard": True,
    "qos_specs": None,
    "access_mode": "rw",
    "encrypted": False,
    "cacheable": False,
    "attachment_id": "d9aa6d7c-0d39-4cbb-9d5f-25a6b7d3ac3e",
}
ISCSI = {
    "driver_volume_type": "iscsi",
    "target_discovered": False,
    "target_portal": "Storage:3260",
    "target_iqn": "iqn.2010-10.org.openstack:volume-9",
    "target_lun": 1,
    "volume_id": "9",
    "discard": False,
    "access_mode": "rw",
    "encrypted": False,
}
NFS = {
    "driver_volume_type": "nfs",
    "export": "storage:/srv/cinder/",
    "name": "volume-9",
    "options": None,
    "format": "qcow2",
    "mount_point_base": "/var/lib/cinder/mnt",
}
LOCAL = {"driver_volume_type": "local", "device_path": "/srv/volumes/volume-9"}


def rendered(info, ceph_conf=None):
    return sources.disk_of(Volume("9", "demo", connection=info), ceph_conf)


def canonical(document):
    element = (
        etree.fromstring(document, etree.XMLParser(remove_blank_text=True)) if isinstance(document, str) else document
    )
    return etree.tostring(element, method="c14n").decode()


RENDERED = {
    "rbd": (
        RBD,
        f"""
        <disk device='disk' type='network'>
          <driver name='qemu' type='raw' discard='unmap'/>
          <source protocol='rbd' name='volumes/volume-9'>
            <host name='192.0.2.1' port='6789'/><host name='fd00::2' port='6790'/><host name='fd00::3' port='6791'/>
            <auth username='cinder'><secret type='ceph' uuid='{SECRET}'/></auth>
          </source>
        </disk>""",
    ),
    "rbd without cephx": (
        RBD | {"auth_enabled": False, "hosts": ["mon1"], "ports": ["6789"], "discard": None, "secret_uuid": None},
        """
        <disk device='disk' type='network'>
          <driver name='qemu' type='raw'/>
          <source protocol='rbd' name='volumes/volume-9'><host name='mon1' port='6789'/></source>
        </disk>""",
    ),
    "iscsi": (
        ISCSI,
        """
        <disk device='disk' type='network'>
          <driver name='qemu' type='raw'/>
          <source protocol='iscsi' name='iqn.2010-10.org.openstack:volume-9/1'>
            <host name='storage' port='3260'/>
          </source>
        </disk>""",
    ),
    "iscsi over IPv6": (
        ISCSI | {"target_portal": "[fd00::2]:3261", "target_lun": "0"},
        """
        <disk device='disk' type='network'>
          <driver name='qemu' type='raw'/>
          <source protocol='iscsi' name='iqn.2010-10.org.openstack:volume-9/0'>
            <host name='fd00::2' port='3261'/>
          </source>
        </disk>""",
    ),
    "nfs": (
        NFS,
        """
        <disk device='disk' type='network'>
          <driver name='qemu' type='qcow2'/>
          <source protocol='nfs' name='/srv/cinder/volume-9'><host name='storage'/></source>
        </disk>""",
    ),
    "a file of the host": (
        LOCAL,
        """
        <disk device='disk' type='file'>
          <driver name='qemu' type='raw'/>
          <source file='/srv/volumes/volume-9'/>
        </disk>""",
    ),
    "a block device of the host": (
        {"driver_volume_type": "local", "device_path": "/dev/mapper/volumes-volume--9", "discard": True},
        """
        <disk device='disk' type='block'>
          <driver name='qemu' type='raw' discard='unmap'/>
          <source dev='/dev/mapper/volumes-volume--9'/>
        </disk>""",
    ),
    "limits and a read-only access mode": (
        NFS
        | {
            "access_mode": "ro",
            "qos_specs": {"read_iops_sec": "200", "total_bytes_sec": 1048576, "vendor": "gold", "write_iops_sec": 0},
        },
        """
        <disk device='disk' type='network'>
          <driver name='qemu' type='qcow2'/>
          <source protocol='nfs' name='/srv/cinder/volume-9'><host name='storage'/></source>
          <readonly/>
          <iotune>
            <total_bytes_sec>1048576</total_bytes_sec>
            <read_iops_sec>200</read_iops_sec>
            <write_iops_sec>0</write_iops_sec>
          </iotune>
        </disk>""",
    ),
    "a read-only attachment, and limits for the storage only": (
        NFS | {"attach_mode": "ro", "access_mode": "rw", "qos_specs": {"vendor": "gold"}, "format": "raw"},
        """
        <disk device='disk' type='network'>
          <driver name='qemu' type='raw'/>
          <source protocol='nfs' name='/srv/cinder/volume-9'><host name='storage'/></source>
          <readonly/>
        </disk>""",
    ),
}


@pytest.mark.parametrize("case", RENDERED)
def test_a_connection_info_becomes_libvirts(case):
    info, document = RENDERED[case]
    assert canonical(rendered(info)) == canonical(document)


def test_the_source_and_the_format_of_the_catalog_are_not_used_beside_it():
    volume = Volume("9", "demo", "/srv/9.img", "qcow2", connection=RBD)
    assert canonical(sources.disk_of(volume)) == canonical(RENDERED["rbd"][1])


def test_ceph_reads_the_configured_file():
    assert rendered(RBD, "/etc/ceph/ours.conf").find("source/config").get("file") == "/etc/ceph/ours.conf"
    assert rendered(NFS, "/etc/ceph/ours.conf").find("source/config") is None


def test_a_disk_has_what_any_other_volume_has():
    view = View(None, Definition.parse("<domain><devices/></domain>"))
    disk = view.new_disk(Volume("9", "demo", connection=RBD, multiattach=True), "virtio", "/dev/vdb")
    assert disk.findtext("serial") == "9"
    assert disk.find("target").attrib == {"dev": "vdb", "bus": "virtio"}
    assert disk.find("shareable") is not None


def test_a_disk_of_the_same_image_without_a_serial_number_is_recognized():
    disk = etree.tostring(rendered(RBD), encoding="unicode")
    view = View(None, Definition.parse(f"<domain><devices>{disk}</devices></domain>"))
    with pytest.raises(AttachRefused, match="without the volume's serial number"):
        view.check_not_unmarked(Volume("9", "demo", connection=RBD))


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (RBD, [("192.0.2.1", 6789), ("fd00::2", 6790), ("fd00::3", 6791)]),
        (ISCSI, [("storage", 3260)]),
        (NFS, [("storage", 2049)]),
    ],
)
def test_the_endpoints_are_the_monitors_or_the_portal(info, expected):
    assert sources.endpoints(rendered(info)) == expected


# What is refused


@pytest.mark.parametrize("transport", ["nvmeof", "fibre_channel", "LOCAL"])
def test_a_transport_that_is_not_supported_is_refused_by_its_name(transport):
    with pytest.raises(AttachRefused, match=f"the transport {transport}, .* rbd, iscsi, nfs, local"):
        rendered({"driver_volume_type": transport})


@pytest.mark.parametrize("info", [RBD, ISCSI, NFS, LOCAL])
def test_the_passphrase_of_encrypted_data_is_returned_apart_and_not_rendered(info):
    encrypted = info | {"encrypted": True, "encryption_passphrase": PASSWORD}
    assert credentials("9", encrypted).passphrase == PASSWORD
    assert credentials("9", encrypted | {"encrypted": False}).passphrase is None
    assert PASSWORD not in canonical(rendered(encrypted))


def test_an_encrypted_volume_without_a_passphrase_is_refused():
    with pytest.raises(AttachRefused, match="is encrypted, and its passphrase is not known"):
        credentials("9", RBD | {"encrypted": True})


@pytest.mark.parametrize("value", ["", 5, "x" * 1025, "pass\0phrase", b"abc"])
def test_a_malformed_passphrase_is_refused_and_not_shown(value):
    with pytest.raises(AttachRefused, match="encryption_passphrase is missing or invalid"):
        credentials("9", RBD | {"encrypted": True, "encryption_passphrase": value})


CHAP = {"auth_method": "CHAP", "auth_username": "me", "auth_password": PASSWORD}


def test_the_login_of_a_target_is_returned_apart_and_not_rendered():
    assert credentials("9", ISCSI | CHAP).login == ("me", PASSWORD)
    assert canonical(rendered(ISCSI | CHAP)) == canonical(rendered(ISCSI))


@pytest.mark.parametrize("info", [ISCSI, RBD, NFS, LOCAL, RBD | CHAP])
def test_there_is_no_login_where_none_is_needed(info):
    assert credentials("9", info).login is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encrypted", "no"),
        ("auth_method", "KRB5"),
        ("auth_method", ["CHAP"]),
        ("auth_username", None),
        ("auth_username", ""),
        ("auth_username", "m e"),
        ("auth_password", None),
        ("auth_password", 5),
        ("auth_password", "x" * 256),
        ("auth_password", "null\0byte"),
    ],
)
def test_a_malformed_login_is_refused_and_the_password_not_shown(name, value):
    with pytest.raises(AttachRefused) as refused:
        credentials("9", ISCSI | CHAP | {name: value})
    assert str(refused.value) == f"The connection_info of volume 9 can't be used: {name} is missing or invalid."


MALFORMED = [
    ({}, "driver_volume_type", None),
    (RBD, "driver_volume_type", ["rbd"]),
    (RBD, "driver_volume_type", "r b d"),
    (RBD, "name", None),
    (RBD, "name", "volume-9"),
    (RBD, "name", "volumes/volume-9@snapshot"),
    (RBD, "name", "volumes/volume-9:conf=/etc/passwd"),
    (RBD, "name", "volumes/volume-9\n"),
    (RBD, "name", 9),
    (RBD, "hosts", None),
    (RBD, "hosts", "mon1"),
    (RBD, "hosts", []),
    (RBD, "hosts", ["mon1"] * 65),
    (RBD, "hosts", ["mon1", "mon2", None]),
    (RBD, "hosts", ["mon1", "mon2", "mon 3"]),
    (RBD, "hosts", ["mon1", "mon2", "fe80::1%\0"]),
    (RBD, "ports", ["6789", "6789"]),
    (RBD, "ports", ["6789", "6789", "0"]),
    (RBD, "ports", ["6789", "6789", "65536"]),
    (RBD, "ports", ["6789", "6789", True]),
    (RBD, "ports", ["6789", "6789", "٣"]),
    (RBD, "ports", ["6789", "6789", 6789.0]),
    (RBD, "auth_enabled", "true"),
    (RBD, "auth_username", ""),
    (RBD, "auth_username", {}),
    (RBD, "secret_uuid", None),
    (RBD, "secret_uuid", "secret"),
    (RBD, "secret_uuid", 5),
    (RBD, "discard", "yes"),
    (RBD, "access_mode", "r"),
    (RBD, "access_mode", []),
    (RBD, "attach_mode", 1),
    (RBD, "qos_specs", "total_iops_sec=1"),
    (RBD, "qos_specs", {"total_iops_sec": "fast"}),
    (RBD, "qos_specs", {"total_iops_sec": -1}),
    (RBD, "qos_specs", {"total_iops_sec": True}),
    (RBD, "qos_specs", {"total_iops_sec": None}),
    (RBD, "format", "vmdk"),
    (RBD, "format", ["raw"]),
    (ISCSI, "target_portal", "storage"),
    (ISCSI, "target_portal", "storage:0"),
    (ISCSI, "target_portal", "stor/age:3260"),
    (ISCSI, "target_portal", "[storage]:3260"),
    (ISCSI, "target_iqn", "volume-9"),
    (ISCSI, "target_iqn", "iqn.2010-10.org.openstack:volume/9"),
    (ISCSI, "target_lun", None),
    (ISCSI, "target_lun", "-1"),
    (NFS, "export", "/srv/cinder"),
    (NFS, "export", "storage:srv"),
    (NFS, "export", "storage:/srv/\udcff"),
    (NFS, "name", "../volume-9"),
    (NFS, "name", ".."),
    (NFS, "name", ""),
    (LOCAL, "device_path", None),
    (LOCAL, "device_path", "srv/volumes/volume-9"),
    (LOCAL, "device_path", "/srv/nul\0byte"),
    (LOCAL, "device_path", "/srv/\udcff"),
]


@pytest.mark.parametrize(("info", "name", "value"), MALFORMED, ids=ascii)
def test_a_malformed_member_is_refused_by_its_name_only(info, name, value):
    with pytest.raises(AttachRefused) as refused:
        rendered(info | {name: value, "auth_password": PASSWORD})
    assert str(refused.value) == f"The connection_info of volume 9 can't be used: {name} is missing or invalid."
