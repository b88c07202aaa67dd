"""Disks in libvirt's XML, without libvirt."""

import pytest
from lxml import etree

from os_volume_ext.backends.base import AttachRefused, DeviceInUse, TooManyAttachments, Volume
from os_volume_ext.backends.libvirt import sources
from os_volume_ext.backends.libvirt.disks import Definition, View

PORTS = "<controller type='pci' index='{}' model='pcie-root-port'/>"
ROOT_DISK = """
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/srv/root.qcow2'/>
      <target dev='vda' bus='virtio'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </disk>"""
SCSI = "<controller type='scsi' index='1' model='virtio-scsi'/>"


def volume_disk(serial, target, bus="virtio", address=""):
    return f"<disk type='file'><target dev='{target}' bus='{bus}'/><serial>{serial}</serial>{address}</disk>"


def pci(bus):
    return f"<address type='pci' bus='{bus:#04x}' slot='0x00' function='0x0'/>"


def unit(controller, number):
    return f"<address type='drive' controller='{controller}' bus='0' target='0' unit='{number}'/>"


def definition(*devices):
    return Definition.parse(f"<domain><devices>{''.join(devices)}</devices></domain>")


def running(*devices):
    """A domain that is the same now and from its next start on."""
    return View(definition(*devices), definition(*devices))


def disk(volume, bus="virtio", device="/dev/vdb", view=None):
    return (view or running(SCSI)).new_disk(volume, bus, device)


# What a domain has


def test_volumes_are_the_disks_with_a_serial_number():
    view = running(ROOT_DISK, volume_disk("9", "vdb"), volume_disk("99", "sdc", "scsi"), "<disk><serial/></disk>")
    assert view.volumes == {"9": "/dev/vdb", "99": "/dev/sdc"}


def test_volumes_are_those_of_now_and_those_of_later():
    view = View(definition(volume_disk("9", "vdb")), definition(volume_disk("99", "vdc")))
    assert view.volumes == {"9": "/dev/vdb", "99": "/dev/vdc"}
    assert not view.has("9")
    assert not view.has("99")


def test_a_device_is_the_one_of_now_where_it_will_be_another():
    view = View(definition(volume_disk("9", "vdb")), definition(volume_disk("9", "vdc")))
    assert view.volumes == {"9": "/dev/vdb"}
    assert view.has("9")


@pytest.mark.parametrize(
    "view", [View(definition(volume_disk("9", "vdb")), None), View(None, definition(volume_disk("9", "vdb")))]
)
def test_a_domain_may_be_transient_or_shut_off(view):
    assert view.has("9")
    assert view.volumes == {"9": "/dev/vdb"}


def test_a_disk_without_a_serial_number_is_never_a_volume():
    assert definition(ROOT_DISK).of("") == []


# Devices


def test_the_first_free_device_of_the_bus_is_chosen():
    view = running(
        SCSI, ROOT_DISK, volume_disk("9", "vdc"), volume_disk("8", "sda", "scsi"), *map(PORTS.format, range(1, 9))
    )
    assert view.choose("virtio", None) == "/dev/vdb"
    assert view.choose("scsi", None) == "/dev/sdb"


def test_a_requested_device_is_used():
    view = running(ROOT_DISK, *map(PORTS.format, range(1, 3)))
    assert view.choose("virtio", "/dev/vdx") == "/dev/vdx"
    assert view.choose("virtio", "/dev/vdaa") == "/dev/vdaa"


@pytest.mark.parametrize("part", ["live", "config"])
def test_a_device_that_is_in_use_now_or_later_is_refused(part):
    empty, full = definition(PORTS.format(1)), definition(PORTS.format(1), volume_disk("9", "vdb"))
    view = View(full, empty) if part == "live" else View(empty, full)
    with pytest.raises(DeviceInUse):
        view.choose("virtio", "/dev/vdb")
    assert view.choose("virtio", None) == "/dev/vda"


@pytest.mark.parametrize(
    "device", ["", "/dev/", "/dev/sda", "vdb", "/dev/vdb1", "/dev/vdb\n", "/dev/vdB", "/dev/vdzzz"], ids=ascii
)
def test_what_is_no_device_of_the_bus_is_refused(device):
    with pytest.raises(AttachRefused):
        running(PORTS.format(1)).choose("virtio", device)


def test_a_scsi_unit_that_a_disk_of_another_name_has_is_taken():
    view = running(SCSI, volume_disk("9", "sdx", "scsi", unit(1, 0)), volume_disk("8", "sdy", "scsi", unit(0, 1)))
    assert view.choose("scsi", None) == "/dev/sdb"
    with pytest.raises(DeviceInUse):
        view.choose("scsi", "/dev/sda")


# How many there may be


def test_a_running_domain_is_full_when_every_port_is_taken():
    view = running(PORTS.format(1), PORTS.format(2), ROOT_DISK, volume_disk("9", "vdb", address=pci(2)))
    with pytest.raises(TooManyAttachments) as refused:
        view.choose("virtio", None)
    assert refused.value.limit == 1


@pytest.mark.parametrize(
    ("devices", "free"),
    [
        ([], 0),
        (["<controller type='pci' index='0' model='pcie-root'/>"], 0),
        (["<controller type='pci' index='0' model='pci-root'/>"], 31),
        (["<controller type='pci' index='0' model='pci-root'/>", volume_disk("9", "vdb", address=pci(0))], 30),
        (["<controller type='pci' index='3' model='pcie-switch-downstream-port'/>"], 1),
        ([PORTS.format(1), PORTS.format(16), volume_disk("9", "vdb", address=pci(16))], 1),
        ([PORTS.format(1), f"<interface>{pci(1)}</interface>"], 0),
        # One device with two functions takes one slot.
        (
            [
                "<controller type='pci' index='0' model='pci-root'/>",
                "<a><address type='pci' bus='0x00' slot='0x03' function='0x0'/></a>",
                "<a><address type='pci' bus='0x00' slot='0x03' function='0x1'/></a>",
            ],
            30,
        ),
    ],
)
def test_slots_are_counted_where_devices_can_be_added(devices, free):
    assert definition(*devices).free_slots == free


def test_a_domain_that_is_shut_off_gets_its_slots_when_it_starts():
    assert View(None, definition(ROOT_DISK)).choose("virtio", None) == "/dev/vdb"


def test_a_scsi_controller_takes_256_disks():
    taken = [volume_disk(number, f"x{number}", "scsi", unit(1, number)) for number in range(256)]
    with pytest.raises(TooManyAttachments) as refused:
        running(SCSI, *taken).choose("scsi", None)
    assert refused.value.limit == 256


# New disks


def test_a_new_disk_bears_the_volumes_id():
    made = disk(Volume("9", "demo", "/srv/9.img"))
    assert made.findtext("serial") == "9"
    assert made.find("alias").attrib == {"name": "ua-9"}
    assert made.find("target").attrib == {"dev": "vdb", "bus": "virtio"}
    assert made.find("address") is None


def test_a_new_scsi_disk_is_at_the_place_of_its_name():
    made = disk(Volume("9", "demo", "/srv/9.img"), "scsi", "/dev/sdab")
    assert made.find("address").attrib == {"type": "drive", "controller": "1", "bus": "0", "target": "0", "unit": "27"}


@pytest.mark.parametrize("view", [running(), running("<controller type='scsi' index='0' model='lsilogic'/>")])
def test_a_scsi_disk_needs_a_virtio_scsi_controller(view):
    with pytest.raises(AttachRefused, match="virtio-scsi"):
        disk(Volume("9", "demo", "/srv/9.img"), "scsi", "/dev/sdb", view)


@pytest.mark.parametrize(("given", "written"), [(None, "raw"), ("raw", "raw"), ("qcow2", "qcow2")])
def test_the_format_is_always_written(given, written):
    assert disk(Volume("9", "demo", "/srv/9.img", given)).find("driver").get("type") == written


def test_a_multiattach_volume_is_shareable_and_no_other():
    assert disk(Volume("9", "demo", "/srv/9.img", multiattach=True)).find("shareable") is not None
    assert disk(Volume("9", "demo", "/srv/9.img")).find("shareable") is None


@pytest.mark.parametrize("name", ["", "a/b", "a b", "é", "9\n", "<x/>", "'", "x" * 37, "a.b"], ids=ascii)
def test_an_id_that_no_disk_can_bear_is_refused(name):
    with pytest.raises(AttachRefused):
        disk(Volume(name, "demo", "/srv/9.img"))


@pytest.mark.parametrize("text", ["vmdk", "RAW", ""])
def test_another_format_is_refused_by_its_name(text):
    volume = Volume("9", "demo", "/srv/9.img", text)
    if not text:
        assert disk(volume).find("driver").get("type") == "raw"
        return
    with pytest.raises(AttachRefused, match=text):
        disk(volume)


SOURCES = {
    "/srv/9.img": ("file", "<source file='/srv/9.img'/>"),
    "/srv/<&'\">.img": ("file", "<source file='/srv/&lt;&amp;&apos;&quot;>.img'/>"),
    "/dev/vg/volume-9": ("block", "<source dev='/dev/vg/volume-9'/>"),
    "rbd:pool/image": ("network", "<source protocol='rbd' name='pool/image'/>"),
    "rbd://mon1:6789,[fd00::2]/pool/image?user=cinder&secret=5ec": (
        "network",
        "<source protocol='rbd' name='pool/image'><host name='mon1' port='6789'/><host name='fd00::2'/>"
        "<auth username='cinder'><secret type='ceph' uuid='5ec'/></auth></source>",
    ),
    "iscsi://storage/iqn.2026-01.com.example:disk-9/1?user=me&secret=5ec": (
        "network",
        "<source protocol='iscsi' name='iqn.2026-01.com.example:disk-9/1'><host name='storage'/>"
        "<auth username='me'><secret type='iscsi' uuid='5ec'/></auth></source>",
    ),
    "nbd://storage:10809/export": (
        "network",
        "<source protocol='nbd' name='export'><host name='storage' port='10809'/></source>",
    ),
    "RBD://[fd00::1]:6789,Mon2,[FD00::2]:06790/pool/image": (
        "network",
        "<source protocol='rbd' name='pool/image'><host name='fd00::1' port='6789'/><host name='mon2'/>"
        "<host name='fd00::2' port='6790'/></source>",
    ),
    "rbd:///pool/image": ("network", "<source protocol='rbd' name='pool/image'/>"),
    "nbd://storage": ("network", "<source protocol='nbd'><host name='storage'/></source>"),
}


@pytest.mark.parametrize("text", SOURCES)
def test_a_source_becomes_libvirts(text):
    kind, source = SOURCES[text]
    made = disk(Volume("9", "demo", text))
    assert made.get("type") == kind
    assert etree.tostring(made.find("source"), method="c14n") == etree.tostring(etree.fromstring(source), method="c14n")


def test_ceph_reads_the_configured_file_and_other_storage_does_not():
    view = running(SCSI)
    for text, paths in (("rbd:pool/image", ["/etc/ceph/ours.conf"]), ("nbd://storage/export", []), ("/srv/9.img", [])):
        made = view.new_disk(Volume("9", "demo", text), "virtio", "/dev/vdb", "/etc/ceph/ours.conf")
        assert [each.get("file") for each in made.iterfind("source/config")] == paths


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/srv/9.img", []),
        ("rbd:pool/image", []),
        ("rbd://mon1,mon2:6790/pool/image", [("mon1", 3300), ("mon1", 6789), ("mon2", 6790)]),
        ("iscsi://[fd00::2]/iqn.2026-01.com.example:disk/1", [("fd00::2", 3260)]),
        ("nbd://storage:1234/export", [("storage", 1234)]),
    ],
)
def test_the_endpoints_of_a_disk_are_the_hosts_of_its_source(text, expected):
    assert sources.endpoints(disk(Volume("9", "demo", text))) == expected


def test_hosts_are_read_also_where_pythons_urlsplit_refuses_several(monkeypatch):
    def refuse(text):
        raise ValueError("Invalid IPv6 URL")

    monkeypatch.setattr(sources, "urlsplit", refuse, raising=False)  # as that of Python 3.13
    made = disk(Volume("9", "demo", "rbd://mon1:6789,[fd00::2]/pool/image"))
    assert [host.get("name") for host in made.iterfind("source/host")] == ["mon1", "fd00::2"]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "srv/9.img",
        "/srv/nul\0byte",
        "/srv/\udcff",
        "http://host/9.img",
        "rbd:/x",
        "rbd:pool",
        "rbd:pool/",
        "rbd:pool/image?user=cinder",
        "rbd:pool/image?user=cinder&secret=5ec&password=1",
        "rbd:pool/image?user",
        "rbd:pool/image#snapshot",
        "rbd://mon1,/pool/image",
        "rbd://mon1:port/pool/image",
        "rbd://me@mon1/pool/image",
        "rbd://mon1[fd00::2]/pool/image",
        "rbd://[fd00::2]mon1/pool/image",
        "rbd://[fd00:::2]/pool/image",
        "rbd://[mon1]/pool/image",
        "rbd://mon1:65536/pool/image",
        "rbd://mon1:6789:6790/pool/image",
        "rbd://mon1/pool/im\nage",
        "iscsi:target/1",
        "iscsi://storage/target",
        "iscsi://[storage/target/1",
        "nbd:export",
    ],
    ids=ascii,
)
def test_an_invalid_source_is_refused_and_not_shown(text):
    with pytest.raises(AttachRefused, match="source of volume 9") as refused:
        disk(Volume("9", "demo", text))
    assert not text or text not in str(refused.value)
