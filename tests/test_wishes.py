"""What people say of a run: approve, deny, pause, unpause, from any terminal, with or without a process at work."""

import re

import anyio
import pytest
from rolling import Rolling, names, rollout

from orchestrator.app import runs as app
from orchestrator.app.wishes import approve, pause, person, unpause
from orchestrator.core.errors import Exit, NotStarted, UsageError
from orchestrator.core.events import Approved, Denied, PauseAsked, UnpauseAsked
from orchestrator.core.waves import WaveRule
from orchestrator.journal.history import load
from orchestrator.report import render
from orchestrator.report.hints import next_steps
from orchestrator.report.reasons import waits_for
from orchestrator.report.why import explain

pytestmark = pytest.mark.anyio

WAVES = (WaveRule("1", name="canary"), WaveRule("2", name="early"), WaveRule("100%", name="rest"))


async def waiting(**fields):
    """A run of six that was left where wave 2 waits for a person."""
    run = await Rolling.of(6, rollout(*WAVES, approve=True, **fields))
    assert await run.drive(detach=True) == Exit.OK
    return run


async def said(run):
    return [wish for _, wish in await run.journal.wishes("r1")]


async def test_an_approval_names_the_wave_that_it_opens_and_who_gives_it():
    run = await waiting()
    told = await approve(run.journal, "r1", "jo", 5.0)
    assert told.sentence == "wave 2 (early), 1 target, is approved by jo: it opens when the run is resumed"
    assert told.hint.line() == "nobody drives the run now: orchestrator resume r1"
    assert await said(run) == [Approved("jo", 5.0, 2)]
    assert await run.drive(detach=True) == Exit.OK
    assert len(run.sent) == 2


@pytest.mark.parametrize("wave", ["early", "2"])
async def test_a_wave_is_named_by_its_name_or_its_number(wave):
    run = await waiting()
    await approve(run.journal, "r1", "jo", 5.0, wave=wave)
    assert await said(run) == [Approved("jo", 5.0, 2)]


async def test_approving_twice_says_so_and_adds_nothing():
    run = await waiting()
    await approve(run.journal, "r1", "jo", 5.0)
    again = await approve(run.journal, "r1", "al", 6.0)
    assert again.sentence == "wave 2 (early) was approved already, by jo"
    assert len(await said(run)) == 1
    await run.drive(detach=True)
    late = await approve(run.journal, "r1", "al", 7.0, wave="early")
    assert late.sentence == "wave 2 (early) was approved already, by jo, and is open"


async def test_what_does_not_wait_is_refused():
    run = await waiting()
    with pytest.raises(NotStarted, match=r"wave 3 .rest. does not wait for an approval: wave 2 .early. comes first"):
        await approve(run.journal, "r1", "jo", 5.0, wave="rest")
    with pytest.raises(NotStarted, match=r"wave 1 .canary. is open since"):
        await approve(run.journal, "r1", "jo", 5.0, wave="canary")
    with pytest.raises(
        UsageError, match=r"no wave 'nightly'; there are: wave 1 .canary., wave 2 .early., wave 3 .rest."
    ):
        await approve(run.journal, "r1", "jo", 5.0, wave="nightly")
    with pytest.raises(UsageError, match="no run in this state begins with 'r7'"):
        await approve(run.journal, "r7", "jo", 5.0)
    assert await said(run) == []


async def test_a_verdict_is_there_before_it_is_approved():
    run = await Rolling.of(6, rollout(*WAVES, approve=True))
    assert await run.drive(timeout=1.0) == Exit.TIMEOUT
    with pytest.raises(NotStarted, match=r"no wave waits for an approval: wave 1 .canary. has no verdict yet"):
        await approve(run.journal, "r1", "jo", 5.0)


async def test_a_wave_that_nobody_is_asked_about_is_not_approved():
    run = await Rolling.of(6, rollout("1", "100%", soak=600.0))
    assert await run.drive(timeout=300.0) == Exit.TIMEOUT
    with pytest.raises(NotStarted, match=r"wave 2 waits for nobody"):
        await approve(run.journal, "r1", "jo", 5.0)


async def test_a_denied_run_stops_says_how_to_go_on_and_is_not_approved_any_more():
    run = await waiting()
    told = await approve(run.journal, "r1", "jo", 5.0, deny=True)
    assert told.hint.line() == "to open it all the same: orchestrator resume r1 --override-stop"
    with pytest.raises(NotStarted, match="was denied by jo; `orchestrator resume r1 --override-stop`"):
        await approve(run.journal, "r1", "al", 5.5)
    assert await said(run) == [Denied("jo", 5.0, 2)]
    assert await run.drive() == Exit.STOPPED
    again = await approve(run.journal, "r1", "al", 6.0, deny=True)
    assert again.sentence == "jo denied wave 2 (early) already"
    with pytest.raises(NotStarted, match="resume r1 --override-stop"):
        await approve(run.journal, "r1", "al", 6.0)
    report = await run.report()
    assert (report.run.status, report.run.stopped_by) == ("stopped", "denied")
    assert "denied \u00b7 exit 5  jo denied wave 2 (early). 5 were not sent." in render(report, "text")
    assert {row.reason for row in report.targets if row.code == "denied"} == {"not triggered: jo denied wave 2 (early)"}
    assert "<bdi>2 early</bdi>" in render(report, "html")


async def test_a_pause_and_its_end_are_said_once():
    run = await waiting()
    told = await pause(run.journal, "r1", "jo", 5.0)
    assert told.hint.line() == "to let it go on: orchestrator unpause r1"
    assert "paused already, by jo" in (await pause(run.journal, "r1", "al", 6.0)).sentence
    assert (await approve(run.journal, "r1", "jo", 7.0)).sentence.endswith("it opens once the run is unpaused")
    await unpause(run.journal, "r1", "jo", 8.0)
    assert (await unpause(run.journal, "r1", "jo", 9.0)).sentence == "run r1 is not paused"
    assert [type(wish) for wish in await said(run)] == [PauseAsked, Approved, UnpauseAsked]


async def test_an_ended_run_takes_no_wish():
    run = await Rolling.of(2, None)
    assert await run.drive() == Exit.OK
    for wish in (approve, pause, unpause):
        with pytest.raises(NotStarted, match="has ended"):
            await wish(run.journal, "r1", "jo", 5.0)


async def test_a_pause_that_nobody_heeds_yet_is_shown_all_the_same():
    run = await waiting()
    await pause(run.journal, "r1", "jo", 5.0)
    report = await run.report()
    assert (report.run.status, report.run.waits_for, report.run.paused_by) == ("waiting", "pause", "jo")


async def test_reports_say_for_whom_a_run_waits_and_what_to_type():
    run = await waiting()
    report = await run.report()
    shown = " ".join(render(report, "text").split())
    assert "waits for approval \u00b7 exit 0 Wave 2 (early) waits for a person to approve it." in shown
    lines = [hint.line() for hint in next_steps(report)]
    assert "open it: orchestrator approve r1 --wave early" in lines
    assert "or not: orchestrator approve r1 --wave early --deny" in lines
    history = await load(run.journal, "r1")
    told = [waits_for(history, target, run.service.now()) for target in history.targets[1:3]]
    assert told == [
        ("approval", "wave 2 (early) waits for a person to approve it"),
        ("wave", "wave 3 (rest) opens after the verdict on wave 2 (early)"),
    ]


async def test_an_approval_that_nobody_heeds_yet_is_told_with_what_opens_the_wave():
    run = await waiting()
    await approve(run.journal, "r1", "jo", 5.0)
    history, report = await load(run.journal, "r1"), await run.report()
    told = "wave 2 (early), approved by jo at 1970-01-01T00:00:05Z, opens when the run is resumed"
    assert waits_for(history, history.targets[1], run.service.now()) == ("wave", told)
    for form in ("text", "markdown"):
        assert told.replace("(", "&#40;").replace(")", "&#41;") in render(report, form) or told in render(report, form)
    assert "approved by jo at 1970-01-01T00:00:05Z, not opened" in render(report, "text")
    assert report.run.waves[1].approved_at == "1970-01-01T00:00:05Z"


async def test_the_story_of_a_target_names_the_wave_to_open_and_what_takes_on_a_run_that_nobody_drives():
    run = await Rolling.of(6, rollout(*WAVES, approve=True))
    assert await run.drive(timeout=3600.0) == Exit.TIMEOUT
    history = await load(run.journal, "r1")
    last = history.targets[5]
    lines = explain(last, (), history, run.service.now(), "r1").for_people()
    (line,) = [line for line in lines if line.endswith("orchestrator approve r1 --wave early")]
    assert "open wave 2 (early)" in line
    history.left_at = None  # as of a process that was killed
    told = explain(last, (), history, run.service.now(), "r1", is_driven=False).for_people()
    assert "nobody drives the run now" in told[-1]
    assert told[-1].endswith("orchestrator resume r1")
    assert "resume" not in explain(last, (), history, run.service.now(), "r1").for_people()[-1]


async def test_the_page_has_each_wave_with_its_times():
    run = await waiting()
    await approve(run.journal, "r1", "jo", 5.0)
    await run.drive(detach=True)
    report = await run.report()
    [first, second, third] = report.run.waves
    drawn = render(report, "html").partition('class="waves"')[2].partition("</table>")[0]
    cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall("<t[dh].*?</t[dh]>", drawn)]
    rows = [cells[start : start + 6] for start in range(6, len(cells), 6)]
    opened, judged = (f"{one[11:16]} UTC" for one in (first.opened_at, first.judged_at))
    assert rows[0][:5] == ["1 canary", "1", "", opened, judged]
    assert rows[0][5].startswith("go: ")
    assert rows[1][:3] == ["2 early", "1", "jo 1970-01-01 00:00 UTC"]
    assert rows[2] == ["3 rest", "4", "", "not opened", "", ""]
    assert second.approved_at == "1970-01-01T00:00:05Z"
    assert third.approved_at is None


async def test_the_story_of_a_target_tells_an_approval_while_the_run_is_paused():
    run = await waiting()
    await pause(run.journal, "r1", "al", 4.0)
    await approve(run.journal, "r1", "jo", 5.0)
    history = await load(run.journal, "r1")
    assert waits_for(history, history.targets[1], run.service.now()) == (
        "paused",
        "paused by al at 1970-01-01T00:00:04Z; "
        "wave 2 (early), approved by jo at 1970-01-01T00:00:05Z, opens after that",
    )


async def test_whoever_drives_the_run_heeds_what_is_said_in_another_terminal():
    run = await Rolling.of(6, rollout(*WAVES, approve=True))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.drive)
        await anyio.sleep(600.0)
        assert (await approve(run.journal, "r1", "jo", run.service.now())).hint is None
        await anyio.sleep(600.0)
        await approve(run.journal, "r1", "al", run.service.now())
    assert run.engine.code == Exit.OK
    assert sorted(run.sent) == names(6)


@pytest.mark.parametrize(
    ("by", "told"),
    [
        (None, "root"),
        ("root", "root"),
        ("jo", "jo (as typed by root)"),
        ("  ", "root"),
        ("j\x1bo", "j o (as typed by root)"),
    ],
)
def test_a_name_is_told_with_the_user_who_typed_it(by, told):
    assert person("root", by) == told


async def test_a_list_of_runs_says_what_the_open_ones_wait_for():
    run = await waiting()
    rows = await run.journal.runs()
    assert await app.waiting(rows, run.journal, run.service.now()) == {
        "r1": "wave 2 (early) waits for a person to approve it"
    }
    await pause(run.journal, "r1", "jo", 5.0)
    assert (await app.waiting(rows, run.journal, run.service.now()))["r1"].startswith("paused by jo")
