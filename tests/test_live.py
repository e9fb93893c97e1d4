"""Where a run stands, in one line."""

import pytest

from orchestrator.cli.live import summary
from orchestrator.core.frozen import replace
from orchestrator.core.model import Outcome, Phase
from orchestrator.engine.engine import Snapshot

GOING = Snapshot(
    targets=9,
    phases={Phase.DONE: 4, Phase.QUEUED: 1, Phase.RUNNING: 2, Phase.REQUESTED: 2},
    outcomes={Outcome.PASSED: 4},
    triggered_per_minute=12.0,
    waiting_for=None,
    seconds_left=None,
    accounts_stopped={},
)
STANDING = "4 of 9 done; 4 passed; 2 running, 1 queued, 2 requested"
STARTING = replace(GOING, phases={Phase.DONE: 4, Phase.WAITING: 5})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "everything is triggered; builds are being followed"),
        (
            {"is_canceling": True},
            "canceling: waits for 3 builds to stop and 2 requests to show a build, or none",
        ),
        (
            {"is_canceling": True, "gives_up_in": 75.4},
            "canceling: waits for 3 builds to stop and 2 requests to show a build, or none; "
            "gives up in 1 min 15 s unless one more stops",
        ),
        ({"is_driven": False}, "nobody drives the run: nothing is triggered"),
    ],
)
def test_it_says_what_a_run_waits_for(changes, expected):
    assert summary(replace(GOING, **changes)) == f"{STANDING}; {expected}"


def test_who_only_reads_tells_no_rate_of_its_own():
    assert summary(STARTING).endswith("5 waiting; 12 triggers a minute")
    assert summary(replace(STARTING, triggered_per_minute=None)).endswith("5 waiting")
