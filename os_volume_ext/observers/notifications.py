"""OpenStack notifications, through oslo.messaging (extra ``[notifications]``).

BackendExecutor never wait for the broker: they put notifications into a queue, which a thread of each process sends.
"""

import atexit
import logging
import math
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import oslo_messaging
from oslo_config import cfg

from ..errors import ConfigurationError, kind_of
from ..perprocess import PerProcess
from .base import Observer, Operation

LOG = logging.getLogger(__name__)

MAX_QUEUED = 1000  # notifications, in each process
RETRY_INTERVAL = 10  # seconds until a notifier that could not be made is made again
CLOSE_TIMEOUT = 5  # seconds that the end of a process waits for queued notifications

Notification = tuple[str, str, dict[str, Any]]  # priority, event type, payload


class Notifications(Observer):
    """Sends ``instance.volume_attach.start``, ``.end`` and ``.error``, and those of ``instance.volume_detach``."""

    def __init__(self, transport_url: str, topics: str, publisher_id: str | None) -> None:
        """Check the URL; nothing is connected yet.

        :param transport_url: of oslo.messaging.
        :param topics: separated by commas.
        :param publisher_id: None: ``os-volume-ext.`` and the host's name.
        :raises ConfigurationError: if oslo.messaging rejects the URL.
        """
        publisher = publisher_id or f"os-volume-ext.{socket.gethostname()}"
        names = [topic.strip() for topic in topics.split(",")]

        def notifier() -> oslo_messaging.Notifier:
            return _notifier(transport_url, names, publisher)

        try:
            notifier()
        except Exception as error:  # whatever its drivers raise
            # The messages of these two contain the URL, and so the password.
            has_url = isinstance(error, oslo_messaging.InvalidTransportURL | ValueError)
            reason = type(error).__name__ if has_url else error
            raise ConfigurationError(f"notifications.transport_url: oslo.messaging rejects it: {reason}") from None
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
    """Return the payload of an operation's notification; an error's also has ``fault``."""
    return {
        "request_id": operation.request_id,
        "user_id": operation.caller and operation.caller.user_id,
        "project_id": operation.project_id,
        "server_id": operation.server_id,
        "volume_id": operation.volume_id,
        "device": operation.device,
    }


def _notifier(transport_url: str, topics: list[str], publisher_id: str) -> oslo_messaging.Notifier:
    # Not the host's cfg.CONF: options of oslo.messaging's drivers can be given in the URL's query.
    conf = cfg.ConfigOpts()
    conf(args=[], default_config_files=[], default_config_dirs=[], use_env=False)
    transport = oslo_messaging.get_notification_transport(conf, transport_url)
    # Retry forever, so that queued notifications are sent when the broker is back. With -1, which should mean the same,
    # oslo.messaging gives up when its first connection fails.
    return oslo_messaging.Notifier(transport, publisher_id, driver="messagingv2", topics=topics, retry=math.inf)


class Sender:
    """The queue and the thread that sends from it."""

    def __init__(self, notifier: Callable[[], oslo_messaging.Notifier]) -> None:
        """Start the thread.

        :param notifier: makes the notifier; this takes a while.
        """
        self._notifier = notifier
        self._queue: queue.Queue[Notification | None] = queue.Queue(MAX_QUEUED)
        self._dropped = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="os-volume-ext-notifications", daemon=True)
        self._thread.start()

    def put(self, notification: Notification) -> None:
        """Queue a notification, or drop it if the queue is full."""
        try:
            self._queue.put_nowait(notification)
        except queue.Full:
            with self._lock:
                self._dropped += 1
                first = self._dropped == 1
            if first:
                LOG.warning("%d notifications are queued for the broker; more are dropped", MAX_QUEUED)

    def close(self) -> None:
        """Wait up to ``CLOSE_TIMEOUT`` until the queue is sent."""
        try:
            self._queue.put(None, timeout=CLOSE_TIMEOUT)
            self._thread.join(CLOSE_TIMEOUT)
        except queue.Full:
            self._dropped += 1  # the one being sent; otherwise the None that is left in the queue counts for it
        self._dropped += self._queue.qsize()
        self._log_dropped()

    def _run(self) -> None:
        notifier = self._made_notifier()
        while (notification := self._queue.get()) is not None:
            priority, event_type, content = notification
            getattr(notifier, priority)({}, event_type, content)  # logs its own errors
            self._log_dropped()
        notifier.transport.cleanup()

    def _made_notifier(self) -> oslo_messaging.Notifier:
        # A failure, such as too many open files, must not end the thread: nothing would start another.
        while True:
            try:
                return self._notifier()
            except Exception as error:  # its message can contain the password
                LOG.error(
                    "notifications can't be sent: oslo.messaging raised %s; retrying every %g seconds",
                    type(error).__name__,
                    RETRY_INTERVAL,
                )
                time.sleep(RETRY_INTERVAL)

    def _log_dropped(self) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            LOG.warning("%d notifications were dropped because the broker did not accept them", dropped)
