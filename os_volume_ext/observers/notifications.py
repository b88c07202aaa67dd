"""OpenStack notifications, through oslo.messaging (extra ``[notifications]``).

BackendExecutor never wait for the broker: a thread of each process sends what they leave in a queue.
"""

import atexit
import logging
import math
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

import oslo_messaging
from oslo_config import cfg

from ..errors import ConfigurationError, kind_of
from ..perprocess import PerProcess
from .base import Observer, Operation

LOG = logging.getLogger(__name__)

LENGTH = 1000  # notifications that wait in a process
PATIENCE = 5  # seconds that the end of a process waits for those that do

Notification = tuple[str, str, dict[str, Any]]  # priority, event type, payload


class Notifications(Observer):
    """Sends ``instance.volume_attach.start``, ``.end`` and ``.error``, and those of ``instance.volume_detach``."""

    def __init__(self, transport_url: str, topics: str, publisher_id: str | None) -> None:
        """Prepare to send; nothing is connected yet.

        :param transport_url: oslo.messaging's. :param topics: with commas.
        :param publisher_id: None: ``os-volume-ext.`` and the host's name.
        :raises ConfigurationError: if oslo.messaging does not take the URL.
        """
        publisher = publisher_id or f"os-volume-ext.{socket.gethostname()}"
        names = [topic.strip() for topic in topics.split(",")]

        def notifier() -> oslo_messaging.Notifier:
            return _notifier(transport_url, names, publisher)

        try:
            notifier()
        except Exception as error:  # whatever its drivers raise
            # What these two say has the URL in it, and so the password.
            quotes_it = isinstance(error, oslo_messaging.InvalidTransportURL | ValueError)
            reason = type(error).__name__ if quotes_it else error
            raise ConfigurationError(
                f"notifications.transport_url: oslo.messaging does not take it: {reason}"
            ) from None
        self._sender = PerProcess(lambda: Sender(notifier))
        atexit.register(self.close)

    def started(self, operation: Operation) -> None:
        self._send("info", "start", operation)

    def finished(self, operation: Operation) -> None:
        if not operation.started:
            return
        if operation.error is None:
            self._send("info", "end", operation)
        else:
            self._send("error", "error", operation, fault=kind_of(operation.error).value)

    def close(self) -> None:
        atexit.unregister(self.close)
        sender = self._sender.made()
        if sender is not None:
            sender.close()

    def _send(self, priority: str, phase: str, operation: Operation, **more: str) -> None:
        event_type = f"instance.volume_{operation.action}.{phase}"
        self._sender().put((priority, event_type, payload(operation) | more))


def payload(operation: Operation) -> dict[str, Any]:
    """Return what a notification says of an operation; ``fault`` is added to that of an error."""
    return {
        "request_id": operation.request_id,
        "user_id": operation.caller and operation.caller.user_id,
        "project_id": operation.project_id,
        "server_id": operation.server_id,
        "volume_id": operation.volume_id,
        "device": operation.device,
    }


def _notifier(transport_url: str, topics: list[str], publisher_id: str) -> oslo_messaging.Notifier:
    # Not the host's cfg.CONF; what oslo.messaging's drivers have as options may be in the URL's query.
    conf = cfg.ConfigOpts()
    conf(args=[], default_config_files=[], default_config_dirs=[], use_env=False)
    transport = oslo_messaging.get_notification_transport(conf, transport_url)
    # For ever, so that what waits is sent when the broker is back; with -1, which should mean the same, oslo.messaging
    # gives up when a first connection fails.
    return oslo_messaging.Notifier(transport, publisher_id, driver="messagingv2", topics=topics, retry=math.inf)


class Sender:
    """The queue, and the thread that empties it."""

    def __init__(self, notifier: Callable[[], oslo_messaging.Notifier]) -> None:
        """Start the thread. :param notifier: makes what it sends with, which takes a while."""
        self._notifier = notifier
        self._queue: queue.Queue[Notification | None] = queue.Queue(LENGTH)
        self._dropped = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="os-volume-ext-notifications", daemon=True)
        self._thread.start()

    def put(self, notification: Notification) -> None:
        """Send it soon, or drop it if too many wait already."""
        try:
            self._queue.put_nowait(notification)
        except queue.Full:
            with self._lock:
                self._dropped += 1
                first = self._dropped == 1
            if first:
                LOG.warning("%d notifications wait for the broker: further ones are dropped", LENGTH)

    def close(self) -> None:
        """Wait until what is in the queue is sent, but not for long."""
        try:
            self._queue.put(None, timeout=PATIENCE)
            self._thread.join(PATIENCE)
        except queue.Full:
            self._dropped += 1  # the one at hand; else a None that is left stands for it
        self._dropped += self._queue.qsize()
        self._tell_dropped()

    def _run(self) -> None:
        notifier = self._notifier()
        while (notification := self._queue.get()) is not None:
            priority, event_type, content = notification
            getattr(notifier, priority)({}, event_type, content)  # what goes wrong, it logs
            self._tell_dropped()
        notifier.transport.cleanup()

    def _tell_dropped(self) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            LOG.warning("%d notifications were dropped: the broker did not take them", dropped)
