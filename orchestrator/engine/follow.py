"""Follows the requests of one account to their end, cancels their builds when asked to, and polls queues of owners."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.core.concurrency import Entry
from orchestrator.core.errors import AccessRefused, LookFailed, NotTriggered, RateLimited, Rejected, Unreachable
from orchestrator.core.events import Canceling, Ended, Refused, Requested, Sighted, TargetEvent
from orchestrator.core.frozen import replace
from orchestrator.core.model import ACCOUNT, Build, BuildState, Request
from orchestrator.core.next_step import NARROWEST, Poll, next_poll, timed_out
from orchestrator.core.progress import Progress, Restart
from orchestrator.core.restart import READINGS_DIFFER, shows_restart
from orchestrator.engine.facts import AccountRun
from orchestrator.limits.concurrency import Others, QueueRoom, others_in
from orchestrator.providers.port import Cancels, Followed, MeasuresQueue, Observation, Provider, ShowsQueue

GROUPS = 4  # polls under way for one account; each takes the builds of some owners
CANCEL_TRIES = 5


class Follow:
    """Polls many requests with one call where the provider can, each row again when it is due.

    Attributes:
        under_way: polls of requests.
    """

    def __init__(self, account: AccountRun, provider: Provider) -> None:
        self.account = account
        self.under_way = 0
        self._provider = provider
        # then a refusal or a limit of one owner must hold up no other's builds
        self._is_by_owner = any(limit.scope == "owner" for limit in account.budget.limits.values())

    def groups(self, rows: Sequence[int]) -> list[list[int]]:
        """The rows in as many groups as may be polled at once, an owner's rows together.

        Where limits are counted by owner, each is polled by itself, those that find no place a moment later.
        """
        owners: dict[str, list[int]] = {}
        for row in rows:
            owners.setdefault(self.account.target(row).owner, []).append(row)
        groups: list[list[int]] = [[] for _ in range(min(len(owners), GROUPS - self.under_way))]
        if self._is_by_owner:
            return self._apart(owners, len(groups))
        for number, owned in enumerate(owners.values()):
            groups[number % len(groups)].extend(owned)
        return groups

    def _apart(self, owners: Mapping[str, list[int]], places: int) -> list[list[int]]:
        """The rows of so many owners that are not left alone for now; the others wait."""
        now, groups = self.account.now(), list[list[int]]()
        whole, _ = self.account.budget.frozen(None, now)
        for rows in owners.values():
            frozen, _ = self.account.budget.frozen(self.account.admission.repo_of(rows[0]), now)
            if frozen <= whole and len(groups) < places:
                groups.append(rows)
                continue
            for row in rows:
                self.account.polls.add(row, now + frozen if frozen > whole else now)
        return groups

    async def poll(self, rows: Sequence[int]) -> None:
        """One poll of these rows."""
        try:
            now = self.account.now()
            steps = ((row, self.account.step_at(row, now)) for row in rows)
            followed = {row: self._followed(row, step, now) for row, step in steps if isinstance(step, Poll)}
            await self._take_in(followed, await self._observed(list(followed.values())), now)
        finally:
            self.under_way -= 1

    async def _observed(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        if not followed:
            return {}
        try:
            return await self._provider.poll(followed)
        except RateLimited as error:
            await self.account.freeze(error, NARROWEST)
        except AccessRefused as error:
            if error.scope == ACCOUNT:
                raise
            await self.account.refuse(error)
        except (LookFailed, Unreachable) as error:
            self.account.notice("look.failed", cause=str(error), builds=len(followed))
        return {}

    def _followed(self, row: int, step: Poll, now: float) -> Followed:
        progress = self.account.progress(row)
        since = progress.requested_at or now
        return Followed(
            self.account.target(row),
            progress.request or Request(""),
            progress.marker,
            progress.build or _to_come(progress),
            since=since,
            polls=self.account.polled[row],
            fresh=now >= step.deadline,
            age=now - since,
        )

    async def _take_in(
        self, followed: Mapping[int, Followed], observations: Mapping[str, Observation], began: float
    ) -> None:
        for row, one in followed.items():
            if (observation := observations.get(one.target.id)) is not None and observation.marked:
                await self.account.prove_marker(row)
        news: list[tuple[int, Sequence[TargetEvent]]] = []
        for row, one in followed.items():
            observation = observations.get(one.target.id)
            if events := await self._news(row, one, observation) if observation is not None else ():
                news.append((row, events))
            else:
                self._again(row, began)
        await self.account.record_all(news)

    async def _news(self, row: int, one: Followed, observation: Observation) -> Sequence[TargetEvent]:
        target = one.target
        if observation.warning:
            self.account.notice("provider.warning", target=target.id, warning=observation.warning)
        if observation.refusal is not None:
            refusal = observation.refusal
            if refusal.scope is not None:  # for a reason that holds for more than its target
                await self.account.refuse(AccessRefused(refusal.code, refusal.reason, refusal.scope))
            return (Refused(target.id, refusal.code, refusal.reason),)
        if not (observation.builds or observation.request):
            return self._out_of_time(row, one, observation)
        known = {build.id: build for build in self.account.progress(row).builds}
        skew, restart = self.account.sender.skew or 0, self.account.restart(row)
        earlier = {restart.before.id: restart.before, **known} if restart is not None else known
        ours = [by_our_clock(told, self.account.attempt(row, told, earlier), skew) for told in observation.builds]
        if restart is not None and not one.fresh:  # the fresh look of a clock that ran out is believed
            ours = [build for build in ours if _is_since(restart, build)]
        seen: list[TargetEvent] = self._renewed(row, observation.request)
        seen += [Sighted(target.id, build) for build in ours if known.get(build.id) != build]
        return seen or self._out_of_time(row, one, observation)

    def _renewed(self, row: int, request: Request | None) -> list[TargetEvent]:
        """The handle in its new form, where it changed."""
        progress = self.account.progress(row)
        if request is None or request == progress.request:
            return []
        return [Requested(self.account.target(row).id, request.id, progress.how, request.handle, request.url)]

    def _out_of_time(self, row: int, one: Followed, observation: Observation) -> Sequence[TargetEvent]:
        if not one.fresh or not isinstance(step := self.account.step(row), Poll):
            return ()
        end = timed_out(step.why)
        return (Ended(one.target.id, end.outcome, end.code, end.reason, evidence=_shown(one, observation)),)

    def _again(self, row: int, began: float) -> None:
        account = self.account
        step = account.step_at(row, began)
        if not isinstance(step, Poll):
            return
        account.polled[row] += 1
        if account.run.is_canceling:
            account.cancel_soon(row)
        due = next_poll(began, began - account.changed[row])
        account.poll_at(row, min(due, step.deadline) if step.deadline > began else due)

    # -- cancel -------------------------------------------------------------------------------------------------

    async def cancel(self, row: int) -> None:
        """Asks the provider to cancel the row's build; that it was canceled is then seen by a look."""
        account = self.account
        target, build = account.target(row), account.progress(row).build
        if build is None or build.state.is_final:
            return
        if not isinstance(self._provider, Cancels):
            await account.record(row, Canceling(target.id, "the provider offers no way to cancel"))
            return
        await account.record(row, Canceling(target.id))
        cause = ""
        for _ in range(CANCEL_TRIES):
            try:
                await self._provider.cancel(target, build)
            except RateLimited as error:
                await account.freeze(error, NARROWEST)
                cause = str(error)
            except Rejected as error:
                cause = error.reason
                account.will_not_stop(row)
                break
            except (LookFailed, Unreachable) as error:
                cause = str(error)
            else:
                return
        account.notice("cancel.failed", target=target.id, cause=cause)
        await account.record(row, Canceling(target.id, f"could not be canceled: {cause}"))

    # -- queues of owners ---------------------------------------------------------------------------------------

    async def poll_queue(self, queue: QueueRoom) -> None:
        """Asks once how long an owner's queue is; polls of it keep to the account's limits as other polls do."""
        account = self.account
        try:
            others = await self._others(queue)
        except AccessRefused:
            queue.unread(account.now())
            raise
        except (LookFailed, NotTriggered) as error:
            if not queue.failures and not account.is_halted:
                account.notice("queue.unread", account=account.name, owner=queue.owner, cause=str(error))
            queue.unread(account.now())
        else:
            queue.seen(others, account.now())
            account.notice(
                "queue.seen",
                owner=queue.owner,
                others=others.builds,
                waiting=others.waiting,
                ours=queue.count,
                may=queue.most,
            )
        finally:
            account.admission.give_turn(queue.name)  # to see whether there is room, and to be held again where not

    async def _others(self, queue: QueueRoom) -> Others:
        """Other people's builds in the queue.

        Raises:
            LookFailed: it cannot be told.
        """
        account, provider = self.account, self._provider
        if isinstance(provider, ShowsQueue):
            before, _ = self._ours(queue)  # one that ends while the answer is on its way is ours too
            entries = self._folded(await provider.queue(account.target(queue.row)))
            ours, unseen = self._ours(queue)
            theirs = account.now() + (account.sender.skew or 0)
            return others_in(entries, [*before, *ours], unseen, theirs, queue.loop.rule.dead_after)
        if isinstance(provider, MeasuresQueue):
            return Others(running=max(0, await provider.queue_depth(queue.owner) - queue.count))
        raise LookFailed(f"{account.line.declaration.title} does not show its queue")

    def _folded(self, entries: Iterable[Entry]) -> list[Entry]:
        name = self.account.budget.name
        return [Entry(entry.id, name(entry.repo), entry.waits, entry.since) for entry in entries]

    def _ours(self, queue: QueueRoom) -> tuple[list[str], list[str]]:
        """The builds of this run in the queue by id, and the repositories of requests without a build so far."""
        account = self.account
        ours: list[str] = []
        unseen: list[str] = []
        for row in account.admission.in_queue(queue):
            builds = account.progress(row).builds
            ours += [build.id for build in builds]
            unseen += [] if builds else [account.admission.repo_of(row)]
        return ours, unseen


def _is_since(restart: Restart, build: Build) -> bool:
    """Whether the build is not only seen as it had ended before; a restart takes a moment to show."""
    return build.id != restart.before.id or shows_restart(restart.before, build, restart.asked_at)


def _shown(one: Followed, observation: Observation) -> str:
    """What a look shows of a request that nothing comes of any more."""
    if observation.warning is not None:
        return observation.warning
    if one.build is None:
        return f"the last look showed request {one.request.id} without a build"
    return f"the last look showed build {one.build.number or one.build.id} {one.build.native}"


def _to_come(progress: Progress) -> Build | None:
    """A build that was started again and was not seen since: it keeps its id where the service does so."""
    if progress.restart is None or not progress.restart.before.id:
        return None
    return Build(progress.restart.before.id, BuildState.QUEUED, "queued", branch=progress.restart.before.branch)


def by_our_clock(build: Build, known: Build | None, skew: int) -> Build:
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
