"""The os-volume_attachments extension for any OpenStack-style compute API, as a Paste filter."""
