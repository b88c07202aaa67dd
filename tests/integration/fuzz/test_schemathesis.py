"""Schemathesis over ``docs/openapi.yaml``: the responses to generated requests conform to it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.fuzz.served import SECONDS, SEED, Sample
from tests.support import openapi
from tests.support.paths import ROOT

HERE = Path(__file__).parent
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


def test_responses_to_schemathesis_conform_to_the_document(fuzzed: Sample, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(SCHEMATHESIS, "--no-color", "--config-file", HERE / "schemathesis.toml", "run", openapi.PATH),
            *("--url", fuzzed.url, "--seed", str(SEED), "--max-time", str(int(SECONDS / 2))),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.integration.fuzz.schemathesis_hooks"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    print(done.stdout)
    assert done.returncode == 0, f"FUZZ_SEED={SEED}"
    fuzzed.check()
