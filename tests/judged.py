"""For the judges: a look-alike in a process of its own, what our report says of a run against it, and waiting."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

OURS = (sys.executable, "-m", "orchestrator")
PATIENCE = 30.0  # seconds


@contextmanager
def served(type_, *words):
    """Where the look-alike is, and its token.

    Args:
        words: settings, `KEY=VALUE`, and whatever else `orchestrator sandbox` takes.
    """
    given = [word for one in words for word in (("--set", one) if "=" in one else (one,))]
    command = [*OURS, "sandbox", "--type", type_, *given, "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            there = json.loads(process.stdout.readline())
            yield there["url"], there["token"]
        finally:
            process.terminate()


def asked(folder, manifest, token, verb, *words):
    """What our report says of the manifest's targets after a verb; the token is in the variable `TOKEN`."""
    (folder / "m.yaml").write_text(manifest)
    given = [folder / "m.yaml", *words] if verb == "run" else words
    command = [*OURS, verb, *given, "--state", folder / "state", "-q", "-o", "json"]
    environ = {**os.environ, "TOKEN": token, "HOME": str(folder)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)["targets"]


def reported(folder, manifest, token):
    """What our report says once all builds have ended, which they do in several ways."""
    targets = asked(folder, manifest, token, "run")
    assert len({target["outcome"] for target in targets}) > 1, "all ends alike judge nothing"
    return targets


def until(ask, is_reached):
    """What is shown once it is as wanted."""
    end = time.monotonic() + PATIENCE
    while not is_reached(found := ask()):
        assert time.monotonic() < end, f"after {PATIENCE:g} s it is {found}"
        time.sleep(0.2)  # a service tells nobody: it is asked
    return found
