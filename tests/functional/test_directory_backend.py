"""The directory backend: the backend contract, and the promises of its own docstring."""

import errno
import fcntl
import os
import shutil
import stat
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from os_volume_ext.backends import directory
from os_volume_ext.backends.base import (
    AttachRefused,
    BackendUnavailable,
    ConfigurationError,
    DeviceInUse,
    OutcomeUnknown,
    Server,
    ServerNotFound,
    TooManyAttachments,
    Volume,
)
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.testing import Absent, BackendContract
from os_volume_ext.testing.leftovers import open_descriptors, opened_since

SERVER = Server("1134", "demo", "ACTIVE")
VOLUME = Volume("9", "demo")
TIMEOUT = 30  # seconds for what happens at once


class TestDirectoryBackend(BackendContract):
    backend_class = DirectoryBackend
    limit = 25
    requestable_device = "/dev/vdf"
    reports_devices = True
    multiattach = True

    @pytest.fixture
    def options(self, root):
        return {"root": str(root)}

    @pytest.fixture
    def server(self, root):
        return made(root, str(uuid.uuid4()))

    @pytest.fixture
    def other_server(self, root):
        return made(root, str(uuid.uuid4()))

    @pytest.fixture
    def unknown_server(self):
        return Server(str(uuid.uuid4()), "demo", "ACTIVE")

    @pytest.fixture
    def new_volume(self):
        return lambda: Volume(str(uuid.uuid4()), "demo")

    @pytest.fixture
    def wrong_options(self):
        return [
            ("root", None),
            ("root", ""),
            ("root", "var/volumes"),
            ("root", "/nul\0byte"),
            ("root", "/dev/null/root"),
        ]

    @pytest.fixture
    def unusable_volume(self):
        return Volume("9", "demo", "/nowhere/disk.img")

    @pytest.fixture
    def unreachable_backend(self, tmp_path):
        backend = prepared(tmp_path / "unmounted", operation_timeout=str(self.short_timeout))
        (tmp_path / "unmounted").rename(tmp_path / "elsewhere")
        return backend

    @pytest.fixture
    def stubborn_server(self):
        return Absent("a directory releases each link")

    @pytest.fixture
    def stopped_server(self, root):
        return replace(made(root, str(uuid.uuid4())), status="SHUTOFF")

    @pytest.fixture
    def extend_volume(self):
        return Absent("a server sees the size of a file itself")

    @pytest.fixture
    def encrypted_volume(self):
        return Absent("it gives servers the files as they are")

    @pytest.fixture
    def attach_by_hand(self, root):
        def attach(server, volume):
            (root / "servers" / server.id / "vdk").symlink_to(f"../../volumes/{volume.id}")
            return "/dev/vdk"

        return attach

    @pytest.fixture
    def attach_other_disk(self, root):
        def attach(server):
            (root / "servers" / server.id / "vdc").symlink_to("/dev/null")
            return "/dev/vdc"

        return attach


class TestDirectoryBackendWithSources(TestDirectoryBackend):
    """The same for volumes whose bytes are elsewhere."""

    @pytest.fixture
    def new_volume(self, tmp_path):
        def volume():
            source = tmp_path / f"{uuid.uuid4()}.img"
            source.write_bytes(b"data")
            return Volume(str(uuid.uuid4()), "demo", source=str(source), format="raw")

        return volume


def prepared(root, **options):
    backend = DirectoryBackend({"root": str(root), **options})
    backend.prepare()
    return backend


def names(path):
    return sorted(each.name for each in Path(path).iterdir())


def path_of(descriptor):
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def made(root, server_id):
    (root / "servers" / server_id).mkdir(parents=True)
    return Server(server_id, "demo", "ACTIVE")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def backend(root):
    made(root, SERVER.id)
    return prepared(root, operation_timeout="60")


@pytest.fixture
def server_dir(root):
    return root / "servers" / SERVER.id


@pytest.fixture
def full_disk(monkeypatch):
    """Let no new file be made; directories can still be opened."""
    really = os.open

    def refuse_new(path, flags, *arguments, **keywords):
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return really(path, flags, *arguments, **keywords)

    monkeypatch.setattr(os, "open", refuse_new)


@pytest.fixture
def failing(monkeypatch):
    """Make a function of ``os`` fail with an error number."""

    def fail(name, number):
        def failing(*arguments, **keywords):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, name, failing)

    return fail


# Options


def test_preparing_the_backend_makes_its_directories(root):
    prepared(root)
    assert names(root) == ["servers", "volumes"]


def test_making_and_checking_the_backend_makes_nothing(root, tmp_path, caplog):
    caplog.set_level("INFO", directory.__name__)
    backend = DirectoryBackend({"root": str(root)})
    assert caplog.messages == []
    backend.check()
    assert names(tmp_path) == []
    assert caplog.messages == [
        f"{root}/{name} does not exist; it is created at start-up" for name in ("volumes", "servers")
    ]


def test_a_directory_that_is_missing_before_the_start_can_be_made(root, tmp_path):
    (root / "volumes").mkdir(parents=True)
    DirectoryBackend({"root": str(root)}).check()
    assert names(root) == ["volumes"]


def test_a_root_whose_parent_can_not_be_written_to_is_refused_before_the_start(tmp_path, monkeypatch):
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and access(path, mode))
    with pytest.raises(ConfigurationError, match=rf"backend\.root .*/new/root/volumes .*: {tmp_path} can't be"):
        DirectoryBackend({"root": str(tmp_path / "new" / "root")})


def test_new_directories_and_volumes_are_for_this_user_only(tmp_path):
    root = tmp_path / "new" / "root"
    backend = prepared(root)
    made(root, SERVER.id)
    backend.attach(SERVER, VOLUME, None)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (root, root / "volumes", root / "servers")]
    assert modes == [0o700] * 3
    assert stat.S_IMODE((root / "volumes" / "9").stat().st_mode) == 0o600


def test_existing_directories_keep_their_modes(root):
    (root / "servers").mkdir(parents=True)
    for each in (root, root / "servers"):
        each.chmod(0o750)
    prepared(root)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (root, root / "servers")] == [0o750] * 2


def test_a_missing_root_is_refused_by_its_name():
    with pytest.raises(ConfigurationError, match=r"backend\.root is required"):
        DirectoryBackend({"operation_timeout": "60"})


def test_a_relative_root_is_refused_with_a_hint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"backend\.root .*'var/volumes'.*%\(here\)s"):
        DirectoryBackend({"root": "var/volumes"})
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_can_not_be_made_is_refused_by_its_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"backend\.root"):
        DirectoryBackend({"root": str(tmp_path / "file" / "root")})


def test_a_root_with_a_nul_is_refused_by_its_name(tmp_path):
    with pytest.raises(ConfigurationError, match=r"backend\.root"):
        DirectoryBackend({"root": f"{tmp_path}/nul\0byte"})


def test_a_root_that_can_not_be_written_to_is_refused_by_its_name(root, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ConfigurationError, match=r"backend\.root"):
        prepared(root)


def test_a_root_that_turned_read_only_before_the_start_is_refused_by_its_name(root, failing):
    backend = DirectoryBackend({"root": str(root)})
    failing("mkdir", errno.EROFS)
    with pytest.raises(ConfigurationError, match=r"backend\.root .*Read-only file system"):
        backend.prepare()


def test_an_unknown_option_is_refused_with_the_existing_ones(root):
    with pytest.raises(ConfigurationError, match=r"backend\.path .*backend\.root"):
        DirectoryBackend({"root": str(root), "path": "/srv"})


# Layout


def test_an_attached_volume_is_a_link_named_after_its_device(backend, server_dir):
    backend.attach(SERVER, VOLUME, None)
    assert names(server_dir) == ["vdb"]
    assert (server_dir / "vdb").readlink() == Path("../../volumes/9")


def test_a_volume_without_a_source_is_an_empty_file_at_first(backend, root, server_dir):
    backend.attach(SERVER, VOLUME, None)
    assert (root / "volumes" / "9").is_file()
    assert (server_dir / "vdb").read_bytes() == b""


def test_a_volume_keeps_its_bytes_when_it_moves(backend, root, server_dir):
    other = made(root, "1135")
    backend.attach(SERVER, VOLUME, None)
    (server_dir / "vdb").write_bytes(b"precious")
    backend.detach(SERVER, VOLUME, "/dev/vdb")
    backend.attach(other, VOLUME, "/dev/vdc")
    assert (root / "servers" / "1135" / "vdc").read_bytes() == b"precious"


def test_a_volume_with_a_source_is_a_link_to_it(backend, root, server_dir, tmp_path):
    source = tmp_path / "disk.img"
    source.write_bytes(b"data")
    backend.attach(SERVER, Volume("9", "demo", source=str(source), format="raw"), None)
    assert (root / "volumes" / "9").readlink() == source
    assert (server_dir / "vdb").read_bytes() == b"data"


def test_a_volume_follows_the_source_that_the_catalog_names_now(backend, server_dir, tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).write_text(name)
        volume = Volume("9", "demo", source=str(tmp_path / name))
        backend.attach(SERVER, volume, None)
        assert (server_dir / "vdb").read_text() == name
        backend.detach(SERVER, volume, "/dev/vdb")


def with_source(path, name):
    (path / name).write_text(name)
    return Volume("9", "demo", source=str(path / name), multiattach=True)


def test_a_changed_source_is_refused_until_no_server_has_the_volume(backend, root, server_dir, tmp_path):
    other, old, new = made(root, "1135"), with_source(tmp_path, "old"), with_source(tmp_path, "new")
    backend.attach(SERVER, old, None)
    for _ in range(2):
        with pytest.raises(AttachRefused, match="source of volume 9 changed") as refused:
            backend.attach(other, new, None)
        assert "/" not in str(refused.value)
    assert backend.attached(other) == {}
    assert (server_dir / "vdb").read_text() == "old"
    assert backend.attach(SERVER, new, None) == "/dev/vdb"
    assert backend.attach(other, old, None) == "/dev/vdb"
    for server in (SERVER, other):
        backend.detach(server, new, None)
    backend.attach(other, new, None)
    assert (root / "servers" / "1135" / "vdb").read_text() == "new"


def test_files_and_links_among_the_servers_have_no_volume(backend, root, tmp_path):
    backend.attach(SERVER, with_source(tmp_path, "old"), None)
    (root / "servers" / "file").write_text("")
    (root / "servers" / "link").symlink_to(tmp_path)
    (root / "servers" / SERVER.id).rename(root / "servers" / ".trash")
    made(root, SERVER.id)
    backend.attach(SERVER, with_source(tmp_path, "new"), None)
    assert (root / "volumes" / "9").read_text() == "new"


def test_no_other_file_is_left_among_the_volumes(backend, root, tmp_path):
    (tmp_path / "disk.img").write_bytes(b"")
    backend.attach(SERVER, VOLUME, None)
    backend.attach(SERVER, Volume("99", "demo", source=str(tmp_path / "disk.img")), None)
    assert names(root / "volumes") == ["9", "99"]


def test_the_links_are_the_truth(backend, root, server_dir):
    (server_dir / "vda").symlink_to("../../volumes/1000")
    assert backend.attached(SERVER) == {"1000": "/dev/vda"}
    (server_dir / "vda").unlink()
    assert backend.attached(SERVER) == {}


@pytest.mark.parametrize("target", ["/etc/passwd", "../../volumes/..", "../../volumes/", "../volumes/9", "9"])
def test_a_link_to_elsewhere_is_no_volume_but_takes_its_device(backend, server_dir, target):
    (server_dir / "vdb").symlink_to(target)
    assert backend.attached(SERVER) == {}
    assert backend.attach(SERVER, VOLUME, None) == "/dev/vdc"


def test_other_files_are_no_volumes_but_take_their_devices(backend, server_dir):
    (server_dir / "vdb").write_text("not a link")
    (server_dir / "console.log").write_text("not a device")
    with pytest.raises(DeviceInUse):
        backend.attach(SERVER, VOLUME, "/dev/vdb")
    assert backend.attach(SERVER, VOLUME, None) == "/dev/vdc"
    assert backend.attached(SERVER) == {"9": "/dev/vdc"}


def test_detach_removes_every_link_to_the_volume(backend, server_dir):
    for name in ("vdb", "vdc"):
        (server_dir / name).symlink_to("../../volumes/9")
    backend.detach(SERVER, VOLUME, "/dev/vdb")
    assert names(server_dir) == []


# Devices


def test_the_first_free_device_is_chosen(backend):
    devices = [backend.attach(SERVER, Volume(name, "demo"), None) for name in "abc"]
    assert devices == ["/dev/vdb", "/dev/vdc", "/dev/vdd"]
    backend.detach(SERVER, Volume("b", "demo"), "/dev/vdc")
    assert backend.attach(SERVER, Volume("d", "demo"), None) == "/dev/vdc"


def test_a_device_beyond_the_default_range_can_be_requested(backend, server_dir):
    assert backend.attach(SERVER, VOLUME, "/dev/sda1") == "/dev/sda1"
    assert names(server_dir) == ["sda1"]


@pytest.mark.parametrize("present", ["vde", "xvde", "sde", "hde", "vde1", "sde15"])
@pytest.mark.parametrize("device", ["/dev/vde", "/dev/xvde", "/dev/sde", "/dev/hde", "/dev/sde2"])
def test_a_device_of_the_same_letters_is_in_use_whatever_its_prefix(backend, server_dir, present, device):
    (server_dir / present).symlink_to("../../volumes/8")
    with pytest.raises(DeviceInUse):
        backend.attach(SERVER, VOLUME, device)
    assert names(server_dir) == [present]


@pytest.mark.parametrize("device", ["/dev/vdee", "/dev/vdf", "/dev/vd", "/dev/nvmee", "/dev/sd1"])
def test_a_device_of_other_letters_is_free(backend, server_dir, device):
    (server_dir / "vde").symlink_to("../../volumes/8")
    assert backend.attach(SERVER, VOLUME, device) == device


def test_a_device_whose_letters_are_in_use_is_not_chosen(backend, server_dir):
    for name in ("sdb", "xvdc"):
        (server_dir / name).symlink_to(f"../../volumes/{name}")
    assert backend.attach(SERVER, VOLUME, None) == "/dev/vdd"


def test_a_full_server_takes_no_other_device_either(backend):
    for number in range(25):
        backend.attach(SERVER, Volume(str(number), "demo"), None)
    assert sorted(backend.attached(SERVER).values())[-1] == "/dev/vdz"
    with pytest.raises(TooManyAttachments) as refused:
        backend.attach(SERVER, Volume("late", "demo"), "/dev/sdbb")
    assert refused.value.limit == 25


@pytest.mark.parametrize(
    "device",
    [
        "",
        "vdb",
        "/dev/",
        "/dev/VDB",
        "/dev/vd-b",
        "/dev/1",
        "/dev/vdb1x",
        "/dev/..",
        "/dev/a/b",
        "/dev/vdb\n",
        "/dev/vdb\0",
        "/dev/" + "v" * 251,
    ],
    ids=ascii,
)
def test_a_malformed_device_is_refused(backend, server_dir, device):
    with pytest.raises(AttachRefused):
        backend.attach(SERVER, VOLUME, device)
    assert names(server_dir) == []


# Volumes that can't be


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "../9",
        "nul\0byte",
        "9\n",
        "-x",
        "ä",
        "x" * 256,
    ],
    ids=ascii,
)
def test_an_unsafe_id_is_refused(backend, root, server_dir, name):
    with pytest.raises(AttachRefused):
        backend.attach(SERVER, Volume(name, "demo"), None)
    with pytest.raises(AttachRefused):
        backend.attach(Server(name, "demo", "ACTIVE"), VOLUME, None)
    with pytest.raises(ServerNotFound):
        backend.attached(Server(name, "demo", "ACTIVE"))
    with pytest.raises(ServerNotFound):
        backend.detach(Server(name, "demo", "ACTIVE"), VOLUME, "")
    assert names(server_dir) == []
    assert names(root / "volumes") == []


@pytest.mark.parametrize("name", ["..", "../1135/vdb"])
def test_detaching_an_unsafe_volume_id_touches_nothing(backend, root, server_dir, name):
    backend.attach(made(root, "1135"), VOLUME, None)
    backend.detach(SERVER, Volume(name, "demo"), "")
    assert names(root / "servers" / "1135") == ["vdb"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("/nowhere/disk.img", "does not exist"),
        ("disk.img", "not an absolute path"),
        ("/nul\0byte", "does not exist"),
        ("", "not an absolute path"),
    ],
)
def test_a_wrong_source_is_refused_with_the_reason(backend, root, server_dir, source, reason):
    with pytest.raises(AttachRefused, match=reason):
        backend.attach(SERVER, Volume("9", "demo", source=source), None)
    assert names(server_dir) == names(root / "volumes") == []


def test_another_format_than_raw_is_refused(backend, server_dir):
    with pytest.raises(AttachRefused, match="qcow2"):
        backend.attach(SERVER, Volume("9", "demo", format="qcow2"), None)
    assert names(server_dir) == []


def test_a_volume_with_a_file_of_its_own_is_not_replaced_by_a_source(backend, root, tmp_path):
    (tmp_path / "disk.img").write_bytes(b"")
    (root / "volumes" / "9").write_bytes(b"precious")
    with pytest.raises(AttachRefused):
        backend.attach(SERVER, Volume("9", "demo", source=str(tmp_path / "disk.img")), None)
    assert (root / "volumes" / "9").read_bytes() == b"precious"


def test_a_volume_that_lost_its_source_is_refused(backend, root, server_dir):
    (root / "volumes" / "9").symlink_to("/srv/disk.img")
    with pytest.raises(AttachRefused):
        backend.attach(SERVER, VOLUME, None)
    assert names(server_dir) == []


# What fails, and what is known of it


@pytest.mark.parametrize("call", ["attach", "detach", "attached"])
def test_a_file_or_a_link_among_the_servers_does_not_look_like_a_deleted_server(backend, root, call):
    (root / "servers" / "file").write_text("")
    (root / "servers" / "link").symlink_to(SERVER.id)
    (root / "servers" / "dangling").symlink_to("nowhere")
    arguments = () if call == "attached" else (VOLUME, None)
    for name in ("file", "link", "dangling"):
        with pytest.raises(BackendUnavailable, match="is not a directory") as failed:
            getattr(backend, call)(Server(name, "demo", "ACTIVE"), *arguments)
        assert str(root) not in str(failed.value)


def test_a_link_that_vanishes_does_not_look_like_a_deleted_server(backend, server_dir, monkeypatch):
    backend.attach(SERVER, VOLUME, None)
    really = os.unlink

    def vanish(name, **where):
        really(server_dir / name)
        really(name, **where)

    monkeypatch.setattr(os, "unlink", vanish)
    with pytest.raises(BackendUnavailable):
        backend.detach(SERVER, VOLUME, None)


def test_a_server_that_vanishes_during_the_search_for_a_volume_is_skipped(backend, root, tmp_path, monkeypatch):
    vanishing, really = made(root, "1135"), os.readlink
    backend.attach(SERVER, with_source(tmp_path, "old"), None)
    backend.detach(SERVER, VOLUME, None)
    backend.attach(vanishing, Volume("99", "demo"), None)

    def remove_and_read(name, **where):
        if "dir_fd" in where:
            shutil.rmtree(root / "servers" / "1135", ignore_errors=True)
        return really(name, **where)

    monkeypatch.setattr(os, "readlink", remove_and_read)
    assert backend.attach(SERVER, with_source(tmp_path, "new"), None) == "/dev/vdb"
    assert (root / "volumes" / "9").read_text() == "new"


@pytest.mark.parametrize("call", [lambda b, s: b.attach(s, VOLUME, None), lambda b, s: b.attached(s)])
def test_a_server_without_a_directory_is_logged_with_its_path(backend, root, caplog, call):
    with pytest.raises(ServerNotFound):
        call(backend, Server("1139", "demo", "ACTIVE"))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == f"server '1139' has no directory {root}/servers/1139"


def test_a_missing_root_does_not_look_like_deleted_servers(backend, root):
    root.rename(root.with_name("unmounted"))
    with pytest.raises(BackendUnavailable):
        backend.attached(SERVER)
    with pytest.raises(BackendUnavailable):
        backend.detach(SERVER, VOLUME, None)
    with pytest.raises(BackendUnavailable, match="volumes is not a directory"):
        backend.check()


def test_a_check_fails_where_the_root_can_not_be_written_to(backend, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(BackendUnavailable):
        backend.check()


def test_a_server_that_vanishes_before_it_is_locked_is_not_found(backend, server_dir, monkeypatch):
    lock = fcntl.flock
    monkeypatch.setattr(
        fcntl, "flock", lambda *arguments: (server_dir.exists() and server_dir.rmdir(), lock(*arguments))
    )
    with pytest.raises(ServerNotFound):
        backend.attach(SERVER, VOLUME, None)


def test_a_server_recreated_during_the_wait_for_its_lock_is_unavailable(backend, server_dir, monkeypatch):
    lock = fcntl.flock

    def replace_and_lock(descriptor, how):
        if how & fcntl.LOCK_EX:
            server_dir.rename(server_dir.with_name("old"))
            server_dir.mkdir()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", replace_and_lock)
    with pytest.raises(BackendUnavailable, match="was replaced"):
        backend.attach(SERVER, VOLUME, None)
    assert names(server_dir) == names(server_dir.with_name("old")) == []


def test_a_server_that_vanishes_after_it_is_locked_is_not_found(backend, server_dir, monkeypatch):
    link = os.symlink
    monkeypatch.setattr(os, "symlink", lambda *links, **where: (server_dir.rmdir(), link(*links, **where)))
    with pytest.raises(ServerNotFound):
        backend.attach(SERVER, VOLUME, None)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_change_that_the_kernel_refuses_did_not_happen(backend, failing, number):
    backend.attach(SERVER, VOLUME, None)
    failing("symlink", number)
    failing("unlink", number)
    with pytest.raises(BackendUnavailable, match=os.strerror(number)):
        backend.attach(SERVER, Volume("99", "demo"), None)
    with pytest.raises(BackendUnavailable, match=os.strerror(number)):
        backend.detach(SERVER, VOLUME, "/dev/vdb")
    assert backend.attached(SERVER) == {"9": "/dev/vdb"}


def test_a_change_that_fails_in_the_disk_may_have_happened(backend, failing):
    backend.attach(SERVER, VOLUME, None)
    failing("symlink", errno.EIO)
    failing("unlink", errno.EIO)
    with pytest.raises(OutcomeUnknown):
        backend.attach(SERVER, Volume("99", "demo"), None)
    with pytest.raises(OutcomeUnknown):
        backend.detach(SERVER, VOLUME, "/dev/vdb")


def test_a_volume_that_can_not_be_made_is_not_attached(backend, server_dir, full_disk):
    with pytest.raises(BackendUnavailable, match="the file of volume 9"):
        backend.attach(SERVER, VOLUME, None)
    assert names(server_dir) == []


def test_a_change_that_may_not_last_is_unknown_until_it_does(backend, server_dir, monkeypatch):
    sync = os.fsync

    def fail_for_the_server(descriptor):
        if os.path.samestat(os.fstat(descriptor), server_dir.stat()):
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail_for_the_server)
        for _ in range(2):
            with pytest.raises(OutcomeUnknown):
                backend.attach(SERVER, VOLUME, None)
    assert backend.attach(SERVER, VOLUME, None) == "/dev/vdb"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail_for_the_server)
        for _ in range(2):
            with pytest.raises(OutcomeUnknown):
                backend.detach(SERVER, VOLUME, "/dev/vdb")
    backend.detach(SERVER, VOLUME, "/dev/vdb")


def test_the_directories_last_before_they_are_used(root, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(path_of(descriptor)))
    prepared(root)
    assert synced == [root]


def test_the_volume_lasts_before_the_link_to_it_is_made(backend, root, monkeypatch):
    events = []
    sync, symlink = os.fsync, os.symlink

    def note_sync(descriptor):
        events.append(path_of(descriptor).relative_to(root).as_posix())
        sync(descriptor)

    def note_link(target, name, **keywords):
        events.append(f"link {name}")
        symlink(target, name, **keywords)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "symlink", note_link)
    backend.attach(SERVER, VOLUME, None)
    assert events == ["volumes", "link vdb", "servers/1134"]


@pytest.mark.parametrize("source", [None, "missing/disk", "/missing/disk"])
def test_no_reason_that_callers_read_tells_a_path(backend, full_disk, source):
    with pytest.raises((BackendUnavailable, AttachRefused), match="volume 9") as refused:
        backend.attach(SERVER, Volume("9", "demo", source=source), None)
    assert "/" not in str(refused.value)


# Many at once


@pytest.mark.parametrize("change", ["symlink", "unlink"])
def test_the_server_is_locked_while_it_is_changed(backend, server_dir, monkeypatch, change):
    really, tried = getattr(os, change), []

    def change_while_another_tries(*arguments, **keywords):
        another = os.open(server_dir, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
            tried.append(change)
        finally:
            os.close(another)
        really(*arguments, **keywords)

    monkeypatch.setattr(os, change, change_while_another_tries)
    backend.attach(SERVER, VOLUME, None)
    backend.detach(SERVER, VOLUME, "/dev/vdb")
    assert tried == [change]


@pytest.mark.parametrize("name", ["old", "other"])
def test_a_volume_keeps_its_source_while_it_is_being_attached(backend, root, server_dir, tmp_path, monkeypatch, name):
    """Whether its link is there already or new."""
    other, volume, new = made(root, "1135"), with_source(tmp_path, name), with_source(tmp_path, "new")
    backend.attach(SERVER, with_source(tmp_path, "old"), None)
    backend.detach(SERVER, volume, None)
    really, impatient, tried = os.symlink, prepared(root, operation_timeout="0"), []

    def link_while_another_attaches(target, link, *rest, **where):
        if link == "vdb" and not tried:
            tried.append(link)
            with pytest.raises(BackendUnavailable, match="all volumes is locked"):
                impatient.attach(other, new, None)
        really(target, link, *rest, **where)

    monkeypatch.setattr(os, "symlink", link_while_another_attaches)
    backend.attach(SERVER, volume, None)
    assert tried == ["vdb"]
    assert (server_dir / "vdb").read_text() == name
    assert backend.attached(other) == {}


def test_a_volume_keeps_its_source_until_its_detach_is_durable(backend, root, tmp_path, monkeypatch):
    other, old, new = made(root, "1135"), with_source(tmp_path, "old"), with_source(tmp_path, "new")
    backend.attach(SERVER, old, None)
    impatient, really, tried = prepared(root, operation_timeout="0"), os.fsync, []

    def sync_while_another_attaches(descriptor):
        if not tried:
            tried.append(path_of(descriptor))
            with pytest.raises(BackendUnavailable, match="all volumes is locked"):
                impatient.attach(other, new, None)
        really(descriptor)

    monkeypatch.setattr(os, "fsync", sync_while_another_attaches)
    backend.detach(SERVER, old, None)
    assert tried == [root / "servers" / SERVER.id]
    assert (root / "volumes" / "9").read_text() == "old"


def test_volumes_are_attached_to_servers_at_once(backend, root, monkeypatch):
    other, really, tried = made(root, "1135"), os.symlink, []
    for volume in (VOLUME, Volume("99", "demo")):
        backend.attach(SERVER, volume, None)
        backend.detach(SERVER, volume, None)
    impatient = prepared(root, operation_timeout="0")

    def link_while_another_attaches(target, link, **where):
        if not tried:
            tried.append(link)
            impatient.attach(other, Volume("99", "demo"), None)
        really(target, link, **where)

    monkeypatch.setattr(os, "symlink", link_while_another_attaches)
    backend.attach(SERVER, VOLUME, None)
    assert (backend.attached(SERVER), backend.attached(other)) == ({"9": "/dev/vdb"}, {"99": "/dev/vdb"})


def test_a_volume_is_changed_before_later_calls_share_the_lock(backend, root, monkeypatch):
    """Otherwise calls that share the lock of all volumes one after the other keep out the call that needs it alone."""
    backend.attach(SERVER, VOLUME, None)
    other, new, waits, really = made(root, "1135"), Volume("99", "demo"), threading.Event(), fcntl.flock
    impatient = prepared(root, operation_timeout="0")

    def notice_the_wait(descriptor, operation):
        try:
            really(descriptor, operation)
        except BlockingIOError:
            if operation & fcntl.LOCK_EX and path_of(descriptor) == root / "volumes":
                waits.set()
            raise

    monkeypatch.setattr(fcntl, "flock", notice_the_wait)
    shared = os.open(root / "volumes", os.O_RDONLY)
    with ThreadPoolExecutor(1) as threads:
        try:
            really(shared, fcntl.LOCK_SH)
            change = threads.submit(backend.attach, other, new, None)
            assert waits.wait(TIMEOUT)
            with pytest.raises(BackendUnavailable, match="is locked"):
                impatient.detach(SERVER, VOLUME, None)
        finally:
            os.close(shared)
        assert change.result(TIMEOUT) == "/dev/vdb"
    impatient.detach(SERVER, VOLUME, None)


def test_the_server_is_unlocked_even_where_a_forked_process_has_its_descriptor(backend, server_dir, monkeypatch):
    kept = []
    lock = fcntl.flock

    def lock_and_keep(descriptor, how):
        lock(descriptor, how)
        if not kept:
            kept.append(os.dup(descriptor))  # what a fork does to every descriptor

    monkeypatch.setattr(fcntl, "flock", lock_and_keep)
    backend.attach(SERVER, VOLUME, None)
    assert len(kept) == 1
    another = os.open(server_dir, os.O_RDONLY)
    try:
        lock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pytest.fail("the server is still locked")
    finally:
        os.close(another)
        os.close(kept[0])


@pytest.mark.parametrize("way", ["well", "refused"])
def test_no_descriptor_is_left_open(backend, way):
    before = open_descriptors()
    backend.attach(SERVER, VOLUME, None)
    if way == "refused":
        with pytest.raises(DeviceInUse):
            backend.attach(SERVER, Volume("99", "demo"), "/dev/vdb")
    assert opened_since(before) == []


ATTACH_TWELVE = """
import sys
from os_volume_ext.backends.base import Server, Volume
from os_volume_ext.backends.directory import DirectoryBackend

root, name = sys.argv[1:]
backend = DirectoryBackend({"root": root})
print("ready", flush=True)
sys.stdin.readline()
for number in range(12):
    print(backend.attach(Server("1134", "demo", "ACTIVE"), Volume(f"{name}-{number}", "demo"), None))
"""


def test_processes_that_attach_at_once_get_different_devices(backend, root):
    command = [sys.executable, "-c", ATTACH_TWELVE, str(root)]
    processes = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("one", "other")
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    devices = [device for process in processes for device in process.communicate(timeout=60)[0].split()]
    assert [process.returncode for process in processes] == [0, 0]
    assert len(set(devices)) == len(devices) == 24
    assert sorted(backend.attached(SERVER).values()) == sorted(devices)
