"""Follows the requests of one account to their end, and cancels their builds when asked to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.core.errors import LookFailed, RateLimited, Rejected, Unreachable
from orchestrator.core.events import Canceling, Ended, Refused, Sighted, TargetEvent
from orchestrator.core.frozen import replace
from orchestrator.core.model import Build, Request, Target
from orchestrator.core.next_step import NARROWEST, Look, look_interval, timed_out
from orchestrator.engine.facts import Ledger
from orchestrator.providers.port import Cancels, Followed, Observation, Provider

READINGS_DIFFER = 3.0  # seconds, at most, between two readings of a clock that tells whole seconds
GROUPS = 4  # looks under way for one account; each takes the builds of some owners
CANCEL_TRIES = 5


class Looks:
    """Looks at many requests with one call where the provider can, each row again when it is due."""

    def __init__(self, ledger: Ledger, looker: Provider) -> None:
        self.ledger = ledger
        self.under_way = 0
        self._looker = looker

    def groups(self, rows: Sequence[int]) -> list[list[int]]:
        """The rows in as many groups as may be looked at at once, an owner's rows together."""
        owners: dict[str, list[int]] = {}
        for row in rows:
            owners.setdefault(self.ledger.target(row).owner, []).append(row)
        groups: list[list[int]] = [[] for _ in range(min(len(owners), GROUPS - self.under_way))]
        for number, owned in enumerate(owners.values()):
            groups[number % len(groups)].extend(owned)
        return groups

    async def look(self, rows: Sequence[int]) -> None:
        """One look at these rows."""
        try:
            now = self.ledger.now()
            followed = {row: self._followed(row, now) for row in rows if isinstance(self.ledger.step(row), Look)}
            await self._take_in(followed, await self._poll(list(followed.values())))
        finally:
            self.under_way -= 1

    async def _poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        if not followed:
            return {}
        try:
            return await self._looker.poll(followed)
        except RateLimited as error:
            await self.ledger.freeze(error, NARROWEST)
        except (LookFailed, Unreachable) as error:
            self.ledger.run.observe("look.failed", cause=str(error), builds=len(followed))
        return {}

    def _followed(self, row: int, now: float) -> Followed:
        progress, step = self.ledger.progress(row), self.ledger.step(row)
        return Followed(
            self.ledger.target(row),
            progress.request or Request(""),
            progress.marker,
            progress.build,
            since=progress.requested_at or now,
            polls=self.ledger.looks[row],
            fresh=isinstance(step, Look) and now >= step.deadline,
        )

    async def _take_in(self, followed: Mapping[int, Followed], observations: Mapping[str, Observation]) -> None:
        if any(observation.marked for observation in observations.values()):
            await self.ledger.prove_marker()
        news: list[tuple[int, Sequence[TargetEvent]]] = []
        for row, one in followed.items():
            observation = observations.get(one.target.id)
            if events := await self._news(row, one, observation) if observation is not None else ():
                news.append((row, events))
            else:
                self._again(row)
        await self.ledger.record_all(news)

    async def _news(self, row: int, one: Followed, observation: Observation) -> Sequence[TargetEvent]:
        target = one.target
        if observation.warning:
            self.ledger.run.observe("provider.warning", target=target.id, warning=observation.warning)
        if observation.refusal is not None:
            await self.ledger.heed(observation.refusal)
            return (Refused(target.id, observation.refusal.code, observation.refusal.reason),)
        known = {build.id: build for build in self.ledger.progress(row).builds}
        builds = [build for build in observation.builds if not self._is_before_the_restart(row, build)]
        ours = [_by_our_clock(build, known.get(build.id), self.ledger.gate.skew or 0) for build in builds]
        seen = [Sighted(target.id, build) for build in ours if known.get(build.id) != build]
        return seen or self._out_of_time(row, target, one)

    def _is_before_the_restart(self, row: int, build: Build) -> bool:
        """Whether the build was seen as it had ended before we started it again; a restart takes a moment to show."""
        progress = self.ledger.progress(row)
        if progress.how != "restarted" or not build.state.is_final or build.finished_at is None:
            return False
        return build.finished_at - (self.ledger.gate.skew or 0) <= (progress.triggered_at or 0.0)

    def _out_of_time(self, row: int, target: Target, one: Followed) -> Sequence[TargetEvent]:
        step = self.ledger.step(row)
        if not one.fresh or not isinstance(step, Look):
            return ()
        end = timed_out(step.why)
        return (Ended(target.id, end.outcome, end.code, end.reason),)

    def _again(self, row: int) -> None:
        ledger = self.ledger
        now, step = ledger.now(), ledger.step(row)
        if not isinstance(step, Look):
            return
        ledger.looks[row] += 1
        due = now + look_interval(now - ledger.changed[row])
        ledger.look_at(row, min(due, step.deadline) if step.deadline > now else due)

    # -- cancel -------------------------------------------------------------------------------------------------

    async def cancel(self, row: int) -> None:
        """Asks the provider to cancel the row's build; that it was canceled is then seen by a look."""
        ledger = self.ledger
        target, build = ledger.target(row), ledger.progress(row).build
        if build is None or build.state.is_final:
            return
        if not isinstance(self._looker, Cancels):
            await ledger.record(row, Canceling(target.id, "the provider offers no way to cancel"))
            return
        await ledger.record(row, Canceling(target.id))
        cause = ""
        for _ in range(CANCEL_TRIES):
            try:
                await self._looker.cancel(target, build)
            except RateLimited as error:
                await ledger.freeze(error, NARROWEST)
                cause = str(error)
            except Rejected as error:
                cause = error.reason
                break
            except (LookFailed, Unreachable) as error:
                cause = str(error)
            else:
                return
        ledger.run.observe("cancel.failed", target=target.id, cause=cause)
        await ledger.record(row, Canceling(target.id, f"could not be canceled: {cause}"))


def _by_our_clock(build: Build, known: Build | None, skew: int) -> Build:
    """The build with its times by our clock, and not moved by what two readings of the skew differ."""
    if known is None:
        return replace(
            build,
            created_at=_moved(build.created_at, skew),
            started_at=_moved(build.started_at, skew),
            finished_at=_moved(build.finished_at, skew),
        )
    return replace(
        build,
        created_at=_moved(build.created_at, skew) if known.created_at is None else known.created_at,
        started_at=_moved(build.started_at, skew, known.started_at),
        finished_at=_moved(build.finished_at, skew, known.finished_at),
    )


def _moved(at: float | None, skew: int, known: float | None = None) -> float | None:
    if at is None:
        return None
    moved = at - skew
    return known if known is not None and abs(moved - known) <= READINGS_DIFFER else moved
