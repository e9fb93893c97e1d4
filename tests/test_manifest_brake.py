"""What a manifest says about the brake on the CI, and what becomes of it."""

import pytest
import yaml
from cli_machine import Program
from golden.story import target, told
from manifest_helpers import TODAY, manifest_of

from orchestrator.core.concurrency import Cap, Concurrency, QueueRule, parse_quiet
from orchestrator.core.events import RunMade, to_json
from orchestrator.core.selection import override_limits
from orchestrator.forecast import forecast
from orchestrator.manifest import expand
from orchestrator.providers.travis.declaration import DECLARATION as TRAVIS
from orchestrator.report import render
from orchestrator.report.view import view

OFFICE, NIGHT = parse_quiet("mon-fri 08:00-18:00 Europe/Berlin"), parse_quiet("sat,sun 22:00-06:00")


def account_of(limits, top="", name="travis"):
    providers = f"providers: {{travis: {{limits: {limits}}}, other: {{type: travis}}}}"
    return manifest_of(f"version: 1\n{top}\n{providers}\ntargets: ['travis:acme/a']\n").accounts[name]


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ("{in_flight: 3}", Concurrency()),
        ("{in_flight_per_owner: 20}", Concurrency((Cap("owner", 20),))),
        ("{in_flight_per_owner: {Acme: 5, '*': 20}}", Concurrency((Cap("owner:acme", 5), Cap("owner", 20)))),
        ("{in_flight_per_label: {Core: 5}}", Concurrency((Cap("label:Core", 5),))),
        ("{queue: 40}", Concurrency(queue=QueueRule(40, 30))),
        ("{queue: 1}", Concurrency(queue=QueueRule(1, 1))),
        (
            "{queue: {below: 9, resume: 9, reserve: 8, dead_after: 2d, every: 5s}}",
            Concurrency(queue=QueueRule(9, 9, 8, 172_800.0, 5.0)),
        ),
        ("{quiet_hours: mon-fri 08:00-18:00 Europe/Berlin}", Concurrency(quiet=(OFFICE,))),
        (
            "{quiet_hours: [mon-fri 08:00-18:00 Europe/Berlin, {days: [sat, sun], from: '22:00', to: '06:00'}]}",
            Concurrency(quiet=(OFFICE, NIGHT)),
        ),
    ],
)
def test_the_brake_of_an_account_is_what_its_limits_say(limits, wanted):
    assert account_of(limits).concurrency == wanted


def test_quiet_hours_of_the_manifest_hold_for_every_account_that_has_none_of_its_own():
    top = "quiet_hours: [mon-fri 08:00-18:00 Europe/Berlin]"
    assert account_of("{quiet_hours: 'sat,sun 22:00-06:00'}", top).concurrency.quiet == (NIGHT,)
    assert account_of("{quiet_hours: []}", top).concurrency.quiet == ()
    assert account_of("{}", top, "other").concurrency.quiet == (OFFICE,)
    assert manifest_of(f"version: 1\n{top}\ntargets: [acme/a]").accounts["travis"].concurrency.quiet == (OFFICE,)


def test_a_share_is_taken_of_every_rate_and_of_nothing_else():
    account = account_of("{share: 33%, triggers: 50/30s, connections: 9, in_flight: 10}")
    assert [str(limit) for limit in account.limits] == ["triggers 16/30s", "calls 594/1m", "triggers_per_repo 3/1h"]
    assert {limit.share for limit in account.limits} == {33}
    assert (account.connections, account.in_flight) == (9, 10)


def test_a_rate_from_the_command_line_is_shared_like_the_one_it_replaces():
    plan = expand(manifest_of("version: 1\nproviders: {travis: {limits: {share: 50%}}}\ntargets: [acme/a]"), today=None)
    assert str(override_limits(plan, {None: "30/30s"}).accounts["travis"].limits[0]) == "triggers 15/30s"


def test_a_share_does_not_hide_that_all_machines_together_are_too_fast():
    text = "version: 1\nproviders: {{travis: {{limits: {{share: 50%, triggers: {}/30s}}}}}}\ntargets: [acme/a]"
    assert not [warning for warning in manifest_of(text.format(40)).warnings if "above" in warning]
    assert [warning for warning in manifest_of(text.format(60)).warnings if "above" in warning]


@pytest.mark.parametrize(
    ("limits", "warns"), [("{}", True), ("{queue: 9}", False), ("{in_flight_per_label: {x: 1}}", True)]
)
def test_the_plan_warns_where_nothing_leaves_room_for_other_people(limits, warns):
    manifest = manifest_of(f"version: 1\nproviders: {{travis: {{limits: {limits}}}}}\ntargets: [acme/a, acme/b]")
    cast = forecast(expand(manifest, today=None), {"travis": TRAVIS})
    assert any("no `in_flight`" in warning for warning in cast.warnings) == warns


BRAKED = """
{share: 50%, triggers: 40/30s, in_flight: 9, in_flight_per_owner: {acme: 5, "*": 7}, in_flight_per_label: {core: 2},
 queue: {below: 9, resume: 8, reserve: 3, dead_after: 2h, every: 10s},
 quiet_hours: [mon-fri 08:00-18:00 Europe/Berlin, "22:00-06:00"]}
"""


def test_the_manifest_of_what_did_not_pass_brakes_as_before():
    account = account_of(BRAKED)
    one = target("travis:acme/a@main")
    story = told([one], made=RunMade("n", None, "", accounts={"travis": to_json(account)}))
    text = render(view(story.run_id, story.history, story.now), "manifest")
    again = manifest_of(text).accounts["travis"]
    assert again.concurrency == account.concurrency
    assert again.in_flight == 9
    assert [str(limit) for limit in again.limits] == [str(limit) for limit in account.limits]
    assert "share" not in yaml.safe_load(text)["providers"]["travis"]["limits"]


def test_an_unknown_limit_is_refused_with_the_nearest_known_one():
    with pytest.raises(Exception, match="did you mean `in_flight_per_owner`"):
        account_of("{in_flight_by_owner: 3}")


def test_a_provider_that_keeps_case_has_owners_that_differ_by_it():
    text = "version: 1\nproviders: {small: {limits: {in_flight_per_owner: {Acme: 5}}}}\ntargets: [acme/a]"
    assert manifest_of(text).accounts["small"].concurrency.caps == (Cap("owner:Acme", 5),)


def capped(limits, targets="[{repo: Acme/a, labels: [core]}]"):
    text = f"version: 1\nproviders: {{travis: {{limits: {limits}}}, other: {{type: travis}}}}\n"
    plan = expand(manifest_of(f"{text}defaults: {{account: travis}}\ntargets: {targets}\n"), today=TODAY)
    return [warning for warning in plan.warnings if "in_flight" in warning]


def test_a_cap_that_no_target_has_is_warned_of_with_the_nearest_name():
    assert capped("{in_flight_per_label: {cor: 3}}") == [
        "account travis: in_flight_per_label of cor caps nothing: no target has this label; did you mean `core`?",
    ]
    assert capped("{in_flight_per_owner: {acm: 3}}") == [
        "account travis: in_flight_per_owner of acm caps nothing: no target has this owner; did you mean `acme`?",
    ]


def test_a_cap_that_holds_a_target_or_stands_with_an_unused_account_is_not_warned_of():
    assert capped('{in_flight_per_owner: {acme: 3, "*": 5}, in_flight_per_label: {core: 3}}') == []
    assert capped("{in_flight_per_label: {cor: 3}}", "['other:acme/a']") == []


def test_check_tells_of_a_cap_that_caps_nothing(tmp_path, capsys):
    program = Program(tmp_path, capsys)
    program.write(
        "m.yaml", "version: 1\nproviders: {travis: {limits: {in_flight_per_owner: {acm: 3}}}}\ntargets: [acme/a]"
    )
    assert program("check", "m.yaml") == 0
    assert "warning: account travis: in_flight_per_owner of acm caps nothing" in program.err
    assert "API builds" not in program.err
    assert program("check", "m.yaml", "-q") == 0
    assert program.err == ""
