"""The queue of notifications, without oslo.messaging's drivers."""

import queue
from types import SimpleNamespace

import pytest

pytest.importorskip("oslo_messaging", reason="oslo.messaging is missing: pip install '.[notifications]'")

from os_volume_ext.observers import notifications
from tests.support.waiting import TIMEOUT


class Notifier:
    def __init__(self):
        self.sent = queue.SimpleQueue()
        self.transport = SimpleNamespace(cleanup=lambda: None)

    def info(self, context, event_type, payload):
        self.sent.put((event_type, payload))


def test_notifications_are_sent_although_the_notifier_could_not_be_made_at_first(monkeypatch, caplog):
    monkeypatch.setattr(notifications, "RETRY_INTERVAL", 0)
    notifier, failures = Notifier(), [OSError("rabbit://u:hush@broker"), OSError("rabbit://u:hush@broker")]

    def make():
        if failures:
            raise failures.pop()
        return notifier

    sender = notifications.Sender(make)
    sender.put(("info", "instance.volume_attach.end", {"volume_id": "9"}))
    assert notifier.sent.get(timeout=TIMEOUT) == ("instance.volume_attach.end", {"volume_id": "9"})
    sender.close()
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 2
    assert "hush" not in caplog.text
