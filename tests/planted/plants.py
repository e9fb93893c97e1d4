"""The faults that are planted. Each stayed green once."""

from __future__ import annotations

from .plant import Edit, Plant

DOUBTS = ("test_rare_doubts.py",)
LIMITS = ("test_rare_limits.py",)
MANIFEST = ("test_rare_manifest.py",)
CALLS = ("test_rare_calls.py",)
WENT_BACK = ("test_went_back.py",)

PLANTS: tuple[Plant, ...] = (
    Plant(
        "two names of one repository are both triggered",
        (Edit("orchestrator/engine/trigger.py", "self._twins.of(row, place)) is not None", "None) is not None"),),
        ("test_names.py",),
        "whichever_comes_first",
    ),
    Plant(
        "a resumed run forgets which of two old names it has triggered",
        (
            Edit(
                "orchestrator/engine/twins.py",
                "if progress.attempts or progress.request is not None:",
                "if progress.attempts < 0:",
            ),
        ),
        ("test_names.py",),
        "a_process_that_follows",
    ),
    Plant(
        "a lost restart is asked again before it can have settled",
        (Edit("orchestrator/core/restart.py", "UNCHANGED if began >= settled else Became.UNSETTLED", "UNCHANGED"),),
        ("test_engine_restarts.py",),
        "settle_time",
    ),
    Plant(
        "an onlooker takes up what only a driver may do",
        (Edit("orchestrator/app/drive.py", "not (self._looks_on and self._history.needs_a_driver)", "True"),),
        ("test_app_onlookers.py",),
        "takes_nothing",
    ),
    Plant(
        "an onlooker does not let go",
        (
            Edit(
                "orchestrator/engine/coordinator.py", "self._hands_over |= self._has_begun", "self._hands_over |= False"
            ),
        ),
        ("test_app_onlookers.py",),
        "leaves_the_run",
    ),
    Plant(
        "the first of two wishes to cancel wins",
        (Edit("orchestrator/engine/coordinator.py", "if not wish.only][-1:]", "if not wish.only][:1]"),),
        ("test_app_cancel.py",),
        "later_of_two",
    ),
    Plant(
        "a lease is not looked at when the connection is ready",
        (Edit("orchestrator/engine/gate.py", "call, ready=self._heartbeat.hold", "call, ready=None"),),
        ("test_engine.py",),
        "before_the_first_byte",
    ),
    Plant(
        "a call leaves although it is too late when its connection is ready",
        (Edit("orchestrator/providers/kit/connections.py", "            may_leave()\n", "            pass\n"),),
        ("test_http.py",),
        "no_longer_wanted",
    ),
    Plant(
        "an outage is asked again without a pause",
        (Edit("orchestrator/limits/rules.py", "now + backoff(self._pauses, random)", "now"),),
        ("test_engine_down.py",),
        "handful",
    ),
    Plant(
        "a crash's interval ends at the intent",
        (Edit("orchestrator/engine/in_doubt.py", "min(max(asked, alive), now)", "min(asked, now)"),),
        DOUBTS,
        "last_sign_of_life",
    ),
    Plant(
        "a copied state's unanswered call has its old end",
        (Edit("orchestrator/engine/in_doubt.py", "alive is None or account.run.is_carried or ", "alive is None or "),),
        DOUBTS,
        "copied_state",
    ),
    Plant(
        "a copied state's doubt has its old end",
        (
            Edit(
                "orchestrator/engine/in_doubt.py",
                "if not _has_stepped(account, doubt.skew) and not account.run.is_carried:",
                "if not _has_stepped(account, doubt.skew):",
            ),
        ),
        DOUBTS,
        "copied_state",
    ),
    Plant(
        "a stepped clock's unanswered call has its old end",
        (
            Edit(
                "orchestrator/engine/in_doubt.py",
                " or account.run.is_carried or _has_stepped(account, progress.asked_skew)",
                " or account.run.is_carried",
            ),
        ),
        DOUBTS,
        "clock_stepped",
    ),
    Plant(
        "a stepped clock's doubt has its old end",
        (
            Edit(
                "orchestrator/engine/in_doubt.py",
                "if not _has_stepped(account, doubt.skew) and not account.run.is_carried:",
                "if not account.run.is_carried:",
            ),
        ),
        DOUBTS,
        "clock_stepped",
    ),
    Plant(
        "what is taken over is not looked for",
        (
            Edit(
                "orchestrator/engine/facts.py",
                "return self.run.is_taken_over and can_tell",
                "return False and can_tell",
            ),
        ),
        WENT_BACK,
        "found_and_not_triggered_again",
    ),
    Plant(
        "a run that another process made is taken for our own",
        (Edit("orchestrator/engine/engine.py", "not self._is_new or heartbeat", "heartbeat"),),
        WENT_BACK,
        "although_nobody_drove_it",
    ),
    Plant(
        "absence is believed at once although the journal went back",
        (Edit("orchestrator/engine/in_doubt.py", "(kept is not None or run.went_back)", "kept is not None"),),
        WENT_BACK,
        "before_the_settle_time",
    ),
    Plant(
        "a stranger's request is no candidate although no marker was ever seen",
        (Edit("orchestrator/engine/in_doubt.py", "await account.shows_marker(row) or self._proves(row)", "True"),),
        WENT_BACK,
        "no_marker_was_seen",
    ),
    Plant(
        "absence is believed for ever after it was found once",
        (
            Edit(
                "orchestrator/engine/trigger.py",
                "if not is_kept or account.now() - looked < LOOK_AGAIN_AFTER:",
                "if True:",
            ),
        ),
        DOUBTS,
        "waits_for_a_limit",
    ),
    Plant(
        "a provider's clock that goes back is not noticed",
        (
            Edit(
                "orchestrator/engine/in_doubt.py", "elif self._asked(doubt).start < asked.start - STEP:", "elif False:"
            ),
        ),
        DOUBTS,
        "clock_went_back",
    ),
    Plant(
        "the provider's clock is not read at a find",
        (Edit("orchestrator/engine/gate.py", ' >= SKEW_EVERY or call.purpose == "find"', " >= SKEW_EVERY"),),
        DOUBTS,
        "clock_went_back",
    ),
    Plant(
        "quiet hours are not asked for again after a long look",
        (
            Edit(
                "orchestrator/engine/trigger.py",
                "if admission.quiet(account.now()) is not None:  # it has become quiet",
                "if False:  # it has become quiet",
            ),
        ),
        DOUBTS,
        "quiet_hours",
    ),
    Plant(
        "accept counts from another process's first attempt",
        (Edit("orchestrator/core/next_step.py", "now - max(first, since) > ", "now - first > "),),
        DOUBTS,
        "accept",
    ),
    Plant(
        "absences are not counted",
        (Edit("orchestrator/core/progress.py", "absences=progress.absences + 1", "absences=progress.absences"),),
        DOUBTS,
        "accept",
    ),
    Plant(
        "a refused cancel is asked five times",
        (
            Edit(
                "orchestrator/engine/follow.py",
                "account.will_not_stop(row)\n                break",
                "pass",
            ),
        ),
        CALLS,
        "refuses",
    ),
    Plant(
        "waiting cancels are not let past triggers",
        (Edit("orchestrator/limits/rules.py", "        if traffic.writes_waiting:", "        if False:"),),
        CALLS,
        "waits_for_a_permit",
    ),
    Plant(
        "the old build's end is taken for that of the new one",
        (Edit("orchestrator/engine/follow.py", "if _is_since(restart, build)]", "if build.id]"),),
        CALLS,
        "started_again",
    ),
    Plant(
        "the old build's end is read by the wrong clock",
        (Edit("orchestrator/engine/follow.py", "told, earlier), skew)", "told, earlier), 0)"),),
        CALLS,
        "started_again",
    ),
    Plant(
        "a lost look counts until now only",
        (
            Edit(
                "orchestrator/engine/gate.py",
                "late: float = LOST_FOR,",
                "late: float = 0.0,",
            ),
        ),
        CALLS,
        "look_that_was_lost",
    ),
    Plant(
        "an interrupt does not end the wait for a permit",
        (Edit("orchestrator/engine/gate.py", "is_draining = True\n", "is_draining = False\n"),),
        CALLS,
        "interrupt",
    ),
    Plant(
        "an interrupt while the history loads is forgotten",
        (Edit("orchestrator/engine/engine.py", "            run.is_halted = bool(self._signal)\n", ""),),
        CALLS,
        "interrupt",
    ),
    Plant(
        "a default branch glob is taken for the branch of a short form",
        (
            Edit(
                "orchestrator/manifest/layers.py",
                '"branches": Rule(Compiler.many, is_alike=_are_plain_refs),',
                '"branches": Rule(Compiler.many, is_alike=is_constant),',
            ),
        ),
        MANIFEST,
        "glob",
    ),
    Plant(
        "a default's exclude leaks into a target's own matrix",
        (
            Edit(
                "orchestrator/manifest/layers.py",
                '"matrix": Rule(Compiler.matrix, is_alike=not_),',
                '"matrix": Rule(Compiler.matrix, lambda a, b: Matrix(a.names, [*b[1], *a[1]]), not_),',
            ),
        ),
        MANIFEST,
        "exclude",
    ),
    Plant(
        "labels of a target are doubled",
        (
            Edit(
                "orchestrator/manifest/targets.py",
                'tuple(dict.fromkeys([self._label(label, names, entry) for label in layer.values.get("labels", ())]))',
                'tuple([self._label(label, names, entry) for label in layer.values.get("labels", ())])',
            ),
        ),
        MANIFEST,
        "label",
    ),
    Plant(
        "labels of a discovered repository are doubled",
        (
            Edit(
                "orchestrator/manifest/targets.py",
                "tuple(dict.fromkeys([*made.labels, *wanted.labels]))",
                "(*made.labels, *wanted.labels)",
            ),
        ),
        MANIFEST,
        "label",
    ),
    Plant(
        "taught windows are dropped beyond 4,096",
        (Edit("orchestrator/limits/budget.py", "w.taken(latest) or w.taught is not None", "w.taken(latest)"),),
        LIMITS,
        "thousands",
    ),
    Plant(
        "usage records are kept in the order in which they come",
        (
            Edit(
                "orchestrator/limits/window.py",
                "            insort(self.answered, at)",
                "            self.answered.append(at)",
            ),
        ),
        LIMITS,
        "order or hide",
    ),
    Plant(
        "a shorter freeze wins",
        (Edit("orchestrator/limits/budget.py", 'if until > self._frozen.get(scope, (0.0, ""))[0]:', "if True:"),),
        LIMITS,
        "freeze",
    ),
    Plant(
        "a shorter freeze wins in the state",
        (Edit("orchestrator/journal/sql/sqlite.py", "until = max(until, excluded.until)", "until = excluded.until"),),
        LIMITS,
        "freeze",
    ),
    Plant(
        "a shorter freeze wins in the history",
        (Edit("orchestrator/core/history.py", "if known is None or until >= known.until:", "if True:"),),
        LIMITS,
        "freeze",
    ),
    Plant(
        "an owner in capitals is another owner",
        (
            Edit(
                "orchestrator/limits/admission.py",
                'return self.repo_of(row).partition("/")[0]',
                "return self._targets[row].owner",
            ),
        ),
        LIMITS,
        "owner",
    ),
    Plant(
        "limits are shared for a moment only after the other process is gone",
        (Edit("orchestrator/engine/shared_limits.py", "since < CALL_TIMEOUT + limit.per", "since < OTHERS_FOR"),),
        LIMITS,
        "when_it_died",
    ),
    Plant(
        "calls under way of a process that is gone are forgotten",
        (Edit("orchestrator/engine/shared_limits.py", "CALL_TIMEOUT + limit.per", "limit.per"),),
        LIMITS,
        "when_it_died",
    ),
    Plant(
        "a process that was first is not seen at the first call",
        (
            Edit(
                "orchestrator/engine/shared_limits.py",
                "            self._seen_at = self.clocks.now()",
                "            pass",
            ),
        ),
        LIMITS,
        "first_call",
    ),
    Plant(
        "a process that was first does not show what it has under way",
        (Edit("orchestrator/engine/shared_limits.py", "            await self._show_turns()", "            pass"),),
        LIMITS,
        "joins",
    ),
    Plant(
        "calls of a principal that was not yet named are forgotten",
        (
            Edit(
                "orchestrator/journal/sql/sqlite.py",
                "rows += db.execute(query, (alias,)).fetchall()",
                "rows = db.execute(query, (alias,)).fetchall()",
            ),
        ),
        LIMITS,
        "whose_token",
    ),
)
