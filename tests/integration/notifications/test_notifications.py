"""Notifications at a real RabbitMQ: they are delivered, and no request waits for a broker that is down."""

import contextlib
import datetime
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import oslo_messaging
import pytest
from oslo_config import cfg

from os_volume_ext.backends.base import BackendUnavailable
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.models import DETACHING, Attachment
from os_volume_ext.observers.base import Operation
from os_volume_ext.observers.notifications import Notifications
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.tables import attachments
from tests.integration.notifications import compute
from tests.integration.notifications.compute import SERVER, VOLUME
from tests.support.services import require_service
from tests.support.waiting import TIMEOUT

BROKER = ("127.0.0.1", 5672)
URL = "rabbit://guest:guest@{}:{}/?rabbit_retry_interval=1&rabbit_retry_backoff=0"
LONG_AGO = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
PROMPT = 2  # seconds in which an operation is done whose commits take milliseconds


class Received:
    """The notifications of one topic, in the order of their arrival."""

    def __init__(self) -> None:
        self._notifications: queue.Queue[tuple[str, str, str, dict[str, Any]]] = queue.Queue()

    def info(self, context: Any, publisher_id: str, event_type: str, payload: dict[str, Any], metadata: Any) -> None:
        self._notifications.put(("info", publisher_id, event_type, payload))

    def error(self, context: Any, publisher_id: str, event_type: str, payload: dict[str, Any], metadata: Any) -> None:
        self._notifications.put(("error", publisher_id, event_type, payload))

    def next(self) -> tuple[str, str, str, dict[str, Any]]:
        return self._notifications.get(timeout=TIMEOUT)

    def event_types(self, count: int) -> list[str]:
        return [self.next()[2] for _ in range(count)]

    def nothing_more(self) -> bool:
        return self._notifications.empty()


@pytest.fixture(scope="session")
def _rabbitmq() -> None:
    try:
        socket.create_connection(BROKER, timeout=5).close()
    except OSError as error:
        require_service(False, f"no RabbitMQ at {BROKER[0]}:{BROKER[1]} to send notifications to: {error}")


@pytest.fixture
def topic(_rabbitmq: None) -> Iterator[str]:
    """Give a topic of this test's own."""
    topic = f"os-volume-ext-test-{uuid.uuid4()}"
    yield topic
    with kombu.Connection(f"amqp://guest:guest@{BROKER[0]}:{BROKER[1]}//") as connection:
        for priority in ("info", "error"):
            kombu.Queue(f"{topic}.{priority}", channel=connection).delete()


@pytest.fixture
def url() -> str:
    return URL.format(*BROKER)


@pytest.fixture
def received(topic: str, url: str) -> Iterator[Received]:
    """Give the notifications of the topic."""
    received = Received()
    conf = cfg.ConfigOpts()
    conf(args=[], default_config_files=[], default_config_dirs=[], use_env=False)
    transport = oslo_messaging.get_notification_transport(conf, url)
    targets = [oslo_messaging.Target(topic=topic)]
    listener = oslo_messaging.get_notification_listener(transport, targets, [received], executor="threading")
    listener.start()
    yield received
    listener.stop()
    listener.wait()
    transport.cleanup()


@pytest.fixture
def application(tmp_path: Path, url: str, topic: str) -> Iterator[Any]:
    with contextlib.closing(compute.serve(tmp_path, url, topic)) as application:
        yield application


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[dict[str, Any], str]]:
    """Give ``run(url, topic, count)``: what a process printed that attached and detached so often, and its log."""

    def call(url: str, topic: str, count: int) -> tuple[dict[str, Any], str]:
        command = [sys.executable, compute.__file__, tmp_path, url, topic, str(count)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    return call


# -- delivery -----------------------------------------------------------------------------------------


def test_an_attach_and_a_detach_notify_at_start_and_end(received: Received, application: Any) -> None:
    responses = [compute.attach(application), compute.detach(application)]
    assert [response.status_code for response in responses] == [200, 202]
    device = iter([None, "/dev/vdb", "/dev/vdb", "/dev/vdb"])
    for response, action in zip(responses, ("attach", "detach"), strict=True):
        for phase in ("start", "end"):
            assert received.next() == (
                "info",
                f"os-volume-ext.{socket.gethostname()}",
                f"instance.volume_{action}.{phase}",
                {
                    "request_id": response.headers["X-Openstack-Request-Id"],
                    "user_id": "alice",
                    "project_id": "demo",
                    "server_id": SERVER,
                    "volume_id": VOLUME,
                    "device": next(device),
                },
            )
    assert received.nothing_more()


def test_an_attach_that_fails_notifies_with_its_fault(
    received: Received, application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise BackendUnavailable("down")

    monkeypatch.setattr(DirectoryBackend, "attach", refuse)
    assert compute.attach(application).status_code == 503
    by_priority = sorted((received.next() for _ in range(2)), key=lambda each: each[0], reverse=True)
    assert [(priority, event_type) for priority, _, event_type, _ in by_priority] == [
        ("info", "instance.volume_attach.start"),
        ("error", "instance.volume_attach.error"),
    ]
    (*_, start), (*_, error) = by_priority
    assert error == start | {"fault": "unavailable"}


def test_an_operation_refused_before_its_start_does_not_notify(received: Received, application: Any) -> None:
    assert compute.detach(application).status_code == 404
    compute.attach(application)
    assert compute.attach(application).status_code == 400
    compute.detach(application)
    assert [event.split("_")[1] for event in received.event_types(4)] == [
        "attach.start",
        "attach.end",
        "detach.start",
        "detach.end",
    ]
    assert received.nothing_more()


def test_publisher_and_topics_are_the_configured_ones(received: Received, topic: str, url: str) -> None:
    notifications = Notifications(url, f"{topic}, {topic}-other", "compute.host1")
    notifications.started(Operation("attach", "req-1", SERVER, VOLUME))
    notifications.close()
    assert received.next()[1:3] == ("compute.host1", "instance.volume_attach.start")
    with kombu.Connection(f"amqp://guest:guest@{BROKER[0]}:{BROKER[1]}//") as connection:
        other = kombu.Queue(f"{topic}-other.info", channel=connection)
        assert other.delete() == 1


def test_a_child_sends_on_a_connection_of_its_own(received: Received, topic: str, url: str) -> None:
    notifications = Notifications(url, topic, None)
    notifications.started(Operation("attach", "req-parent", SERVER, VOLUME))
    assert received.next()[3]["request_id"] == "req-parent"
    child = os.fork()
    if child == 0:
        notifications.started(Operation("attach", "req-child", SERVER, VOLUME))
        notifications.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert received.next()[3]["request_id"] == "req-child"
    notifications.started(Operation("attach", "req-parent-again", SERVER, VOLUME))
    notifications.close()
    assert received.next()[3]["request_id"] == "req-parent-again"


def test_reconcile_has_sent_what_it_did_before_it_ends(
    received: Received, topic: str, url: str, tmp_path: Path, application: Any, run_command: Callable[..., str]
) -> None:
    options = compute.options(tmp_path, url.replace("%", "%%"), topic)
    section = "".join(f"{name} = {value}\n" for name, value in options.items())
    (tmp_path / "api-paste.ini").write_text(f"[filter:volumes]\nuse = egg:os-volume-ext\n{section}")
    database = Database({"url": options["database.url"]})
    row = Attachment(VOLUME, SERVER, "demo", True, "/dev/vdb", False, DETACHING, "req-1", None, None, None, None)
    Registry(database).reserve(row)
    database.change(attachments.update().values(updated_at=LONG_AGO))
    database.dispose()
    command = Path(sys.executable).with_name("os-volume-ext")
    printed = run_command(command, "reconcile", "--paste", tmp_path / "api-paste.ini", cwd=tmp_path)
    assert "repaired" in printed
    assert received.event_types(2) == ["instance.volume_detach.start", "instance.volume_detach.end"]


def test_the_hosts_configuration_is_left_alone(application: Any) -> None:
    compute.attach(application)
    assert "oslo_messaging_notifications" not in cfg.CONF
    assert "oslo_messaging_rabbit" not in cfg.CONF


# -- a broker that is away ----------------------------------------------------------------------------


def test_no_request_waits_for_a_missing_broker(run: Callable[..., Any], free_port: int) -> None:
    done, log = run(URL.format("127.0.0.1", free_port), "any", 600)
    assert done["statuses"] == [200, 202]
    assert done["slowest"] < PROMPT
    assert "1000 notifications are queued for the broker; more are dropped" in log
    assert "2400 notifications were dropped because the broker did not accept them" in log


def test_no_request_waits_for_a_silent_broker(run: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done, log = run(URL.format(*silent.getsockname()), "any", 3)
    assert done["statuses"] == [200, 202]
    assert done["slowest"] < PROMPT
    assert "12 notifications were dropped" in log


def forward(listener: socket.socket) -> None:
    """Pass on to RabbitMQ, and back, what comes in on each connection."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # whichever side ends first
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def pass_on() -> None:
        client, _ = listener.accept()
        with client, socket.create_connection(BROKER) as broker:
            back = threading.Thread(target=copy, args=(broker, client))
            back.start()
            copy(client, broker)
            back.join(TIMEOUT)

    threading.Thread(target=pass_on).start()


def test_what_waited_is_sent_when_the_broker_is_back(received: Received, topic: str, free_port: int) -> None:
    notifications = Notifications(URL.format("127.0.0.1", free_port), topic, None)
    for number in range(3):
        notifications.started(Operation("attach", f"req-{number}", SERVER, VOLUME))
    with socket.create_server(("127.0.0.1", free_port)) as listener:
        forward(listener)
        assert [received.next()[3]["request_id"] for _ in range(3)] == ["req-0", "req-1", "req-2"]
        notifications.close()
