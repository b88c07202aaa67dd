"""The first requests of a process, all at once."""

import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import TIMEOUT

# Python 3.11 may collect garbage in the midst of reading a function's annotations, and then run other threads, which
# read the same ones. Here it does so whenever those of one function are read.
PROGRAM = """if True:
    import gc, inspect, sys, threading, time
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    from os_volume_ext.filter import make_filter
    from tests.support.inprocess import collection, compute_api, send_request

    THREADS = 4
    root, rules, function_name = sys.argv[1:]
    kept = []

    def reads_annotations(frame):
        return frame.f_code is inspect.get_annotations.__code__ and frame.f_locals["obj"].__qualname__ == function_name

    def collect_in_next_call(frame, event, called):
        if event == "c_call" and called is getattr and reads_annotations(frame):
            kept.append([{} for _ in range(1000)])  # more than the collector's threshold
            gc.enable()

    def let_others_run(phase, info):
        gc.disable()
        time.sleep(0.02)

    def show(_):
        together.wait()
        return send_request(app, "GET", collection("1134"))[0]

    policy_file = Path(root, "policy.yaml")
    policy_file.touch()
    options = {"database.url": f"sqlite:///{root}/registry.db", "backend.root": root, "policy_file": str(policy_file)}
    app = make_filter(compute_api(["1134"]), backend="directory", **options)
    policy_file.write_text(rules)
    together = threading.Barrier(THREADS)
    gc.disable()
    gc.callbacks.append(let_others_run)
    threading.setprofile(collect_in_next_call)
    with ThreadPoolExecutor(THREADS) as threads:
        print(*threads.map(show, range(THREADS)))
"""


@pytest.mark.parametrize(
    ("rules", "function_name"),
    [
        ("", "RuleCheck.__call__"),  # which the default rules use
        ('"os_compute_api:os-volumes-attachments:index": "not role:other"', "NotCheck.__call__"),  # and they do not
    ],
    ids=["default", "changed"],
)
def test_first_requests_at_once_in_many_threads_get_responses(tmp_path, rules, function_name):
    command = [sys.executable, "-X", "faulthandler", "-c", PROGRAM, str(tmp_path), rules, function_name]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (ended.returncode, ended.stdout.split()) == (0, ["200"] * 4), ended.stderr
