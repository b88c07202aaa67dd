"""The served sample that is fuzzed, and its checks."""

import os
import random
import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import requests

SECONDS = float(os.environ.get("FUZZ_SECONDS", "20"))  # for all of this directory
# An ordinary run of the tests sends the same requests each time; ``make fuzz`` looks for new ones.
SEED = int(os.environ.get("FUZZ_SEED", random.randrange(10**6) if "FUZZ_SECONDS" in os.environ else 1))
RESPONSE_TIMEOUT = 30  # seconds that a response may take
# What is never sent while fuzzing: the token, the server and the volume of the project "other".
GOOD = (
    ("/compute/v2.0/servers/2001/os-volume_attachments", 200),
    (
        "/v2.1/servers/9a1f3c52-7d6e-4b0b-9f7a-0c2d5e8f1a34/os-volume_attachments",
        "b7d0e9a4-54c1-4a3e-8a44-6f1f0b9a2c11",
    ),
)
GROWTH = 4096  # kB; see Sample.check_memory
WARM = 80  # looks at memory; before, what is seldom needed is needed for the first time


@dataclass
class Sample:
    """The served sample; ``memory`` has what it has had resident, in kB, from time to time."""

    port: int
    process: "Popen[bytes]"
    log: Path
    memory: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def measure(self) -> None:
        """Record its resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        self.memory.append(int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1]))

    def check(self) -> None:
        """Check that the process is alive, has logged no traceback, and attaches and detaches."""
        assert self.process.poll() is None
        log = self.log.read_text(errors="backslashreplace")
        assert "Traceback" not in log, log[log.index("Traceback") - 1000 :][:5000]
        for path, volume in GOOD:
            self._exercise(path, volume)

    def _exercise(self, path: str, volume: int | str) -> None:
        def send_request(method: str, path: str, document: object = None) -> requests.Response:
            headers = {"X-Auth-Token": "other-token"}
            return requests.request(method, self.url + path, json=document, headers=headers, timeout=RESPONSE_TIMEOUT)

        attached = send_request("POST", path, {"volumeAttachment": {"volumeId": volume}})
        assert attached.status_code == 200, attached.text
        listed = send_request("GET", path).json()["volumeAttachments"]
        assert listed == [attached.json()["volumeAttachment"]]
        assert send_request("GET", f"{path}/{volume}").json() == attached.json()
        detached = send_request("DELETE", f"{path}/{volume}")
        assert detached.ok, detached.text
        assert send_request("GET", path).json() == {"volumeAttachments": []}

    def check_memory(self) -> None:
        """Check that memory does not grow from the second quarter of the run to the last."""
        quarter = len(self.memory) // 4
        early = statistics.median(self.memory[quarter : 2 * quarter])
        late = statistics.median(self.memory[-quarter:])
        print(f"resident: {self.memory[0]} kB at first, then {early:.0f}, at last {late:.0f}")
        allowed = GROWTH if len(self.memory) >= WARM else 3 * GROWTH
        assert late - early <= allowed, f"more memory from time to time: {self.memory}"
