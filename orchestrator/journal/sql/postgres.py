"""The dialect of PostgreSQL (14 and newer): the same state for several machines. Needs the extra `postgres`.

Each operation is one transaction under READ COMMITTED, with row locks only, always taken in the same order: a run, its
streams by number, the incarnations of their holders, a principal. An append is one call of a function in the database,
so no process holds a lock while it stands still. Times are of the state's clock, which here is the database's:
`set_clock` tells a process when its boot began by that clock, so wall clocks of machines do not matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import anyio
from typing_extensions import override

from orchestrator.core.errors import JournalError, UsageError
from orchestrator.core.events import Claimed, decode
from orchestrator.core.frozen import DAMAGES, from_json, to_json
from orchestrator.core.history import History
from orchestrator.core.model import COORDINATOR, Scope
from orchestrator.journal.files import REHEARSALS
from orchestrator.journal.lease import SENDS_FOR, Hold
from orchestrator.journal.outcomes import Known, newest, outcomes_of
from orchestrator.journal.port import (
    AccountMemory,
    Cursor,
    Incarnation,
    Overlap,
    Process,
    RunRow,
    SharedLimit,
    UsageRecord,
)
from orchestrator.journal.rows import targets_of
from orchestrator.journal.sql import (
    NO_NEWS,
    Dialect,
    Document,
    Granted,
    InTheWay,
    NoState,
    Refused,
    Row,
    UsageNews,
)
from orchestrator.journal.sql.postgres_shape import APPEND, HOLD, VERSION, make
from orchestrator.journal.sql.tables import ASK_AGAIN

if TYPE_CHECKING:
    from psycopg import AsyncConnection

P = ParamSpec("P")
T = TypeVar("T")
PATIENCE = 20.0  # seconds for which a connection that is gone is made anew, before the state is given up
BETWEEN = 0.25  # seconds between two tries
KEPT_FOR = 7200.0  # seconds; no limit looks back further
PRUNE_EVERY = 60.0
# SQLSTATE of what is worth another try: serialisation, deadlock, lock time-out, shutdown, too many connections
GIVES_WAY = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300", "25P03", "08006", "08003"})
TIMEOUTS = "-c statement_timeout=30s -c lock_timeout=5s -c idle_in_transaction_session_timeout=10s"
SETTINGS: Mapping[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
    "application_name": "orchestrator",
    "target_session_attrs": "read-write",
    "options": TIMEOUTS,
}


class _Lost(JournalError):
    """The connection was lost, or the database gave way to somebody; it is not known whether the work was done."""


def _again(
    work: Callable[Concatenate[Postgres, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Postgres, P], Coroutine[Any, Any, T]]:
    """Makes an operation of one that may be done twice: it is, when the connection was lost while it was done."""

    @wraps(work)
    async def operation(self: Postgres, /, *args: P.args, **named: P.kwargs) -> T:
        began = anyio.current_time()
        while True:
            try:
                return await work(self, *args, **named)
            except _Lost:
                if anyio.current_time() - began > PATIENCE:
                    raise
            await anyio.sleep(self._random.uniform(0.0, 2 * BETWEEN))

    return operation


class Postgres(Dialect):
    """One process's way to a state in PostgreSQL.

    Args:
        url: `postgresql://HOST/DB`, without a password; `PGPASSFILE`, `service=` and libpq's other variables count.
        password: where it is given by a reference.
        schema: of our tables.
        read_only: never writes, and makes no tables.
    """

    def __init__(
        self, url: str, password: str | None = None, *, schema: str = "orchestrator", read_only: bool = False
    ) -> None:
        self._url = url
        self._password = password
        self._schema = schema
        self._read_only = read_only
        self._connection: AsyncConnection[Any] | None = None
        self._turn = anyio.Lock()
        self._random = Random()  # noqa: S311  # jitter, no secret
        self._pruned_at = 0.0
        self._written = 0
        self._making: set[str] = set()  # runs of which it is not known yet whether they were made

    @classmethod
    def at(cls, where: str, password: str | None, *, read_only: bool) -> Postgres:
        """The way to a state by its URL, with `#rehearsals` to that of rehearsals.

        Raises:
            UsageError: the URL holds a password, or the extra is not installed.
        """
        url, mark, _ = where.partition(REHEARSALS)
        if re.search(r"//[^/@]*:[^/@]*@|[?&]password=", url):
            raise UsageError(
                "--state: every user of the machine sees a URL on a command line, so it holds no password: use "
                "PGPASSFILE, `service=`, or ORCHESTRATOR_STATE_PASSWORD=env:NAME; change the password that stood here"
            )
        if find_spec("psycopg") is None:
            raise UsageError(
                "--state postgresql://...: this needs the extra `postgres`: `pip install '.[postgres]'` in a copy of "
                "this project"
            )
        schema = "orchestrator_rehearsals" if mark else "orchestrator"
        return cls(url, password, schema=schema, read_only=read_only)

    @property
    @override
    def place(self) -> str:
        return self._url

    # -- the connection -----------------------------------------------------------------------------------------

    @override
    @_again
    async def prepare(self) -> None:
        async with self._cursor() as db:
            await db.execute("SELECT to_regclass(%s)", (f"{self._schema}.meta",))
            row = await db.fetchone()
            if row is None or row[0] is None:
                if self._read_only:
                    raise NoState(f"there are no runs yet in {self.place}; `orchestrator run` makes one")
                await make(db, self._schema)
            await db.execute("SELECT value FROM meta WHERE key = 'schema'")
            found = await db.fetchone()
            if found is None or int(found[0]) != VERSION:
                what = "another" if found is None else f"a {'newer' if int(found[0]) > VERSION else 'older'}"
                raise JournalError(f"{self.place}: the state was made by {what} version of this program; upgrade")

    @override
    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with anyio.CancelScope(shield=True):
                await connection.close()

    async def _open(self) -> AsyncConnection[Any]:
        from psycopg import AsyncConnection

        given = dict(SETTINGS) | ({} if self._password is None else {"password": self._password})
        connection = await AsyncConnection.connect(self._url, autocommit=True, **given)
        connection.prepare_threshold = None  # a pooler in between may give each transaction another session
        await connection.execute(f'SET search_path = "{self._schema}"')
        return connection

    @asynccontextmanager
    async def _cursor(self) -> AsyncIterator[Any]:
        """A cursor in a transaction of its own, which is durable at the end, and wholly undone on an error.

        Raises:
            JournalError: the database cannot be used.
        """
        import psycopg

        async with self._turn:
            began = anyio.current_time()
            while True:
                try:
                    if self._connection is None or self._connection.closed:
                        self._connection = await self._open()
                    break
                except psycopg.OperationalError as error:
                    if anyio.current_time() - began > PATIENCE or _is_for_good(error):
                        raise JournalError(self._said(error)) from error
                    await anyio.sleep(BETWEEN)
            try:
                async with self._connection.transaction(), self._connection.cursor() as cursor:
                    yield cursor
            except psycopg.Error as error:
                is_lost = self._connection.broken or self._connection.closed or error.sqlstate in GIVES_WAY
                raise (_Lost if is_lost else JournalError)(self._said(error)) from error

    def _said(self, error: Exception) -> str:
        said = str(error).strip().splitlines()
        return f"{self.place}: {said[0] if said else type(error).__name__}"

    @override
    @_again
    async def changed_by_others(self) -> bool:
        async with self._cursor() as db:
            await db.execute("SELECT last_value FROM written")
            (number,) = await db.fetchone()
        before, self._written = self._written, int(number)
        return before != self._written

    @override
    async def clock(self, boot: str) -> float | None:
        return None  # measured by each process for itself, in `set_clock`

    @override
    @_again
    async def set_clock(self, boot: str, up: float, wall: float) -> float:
        began = anyio.current_time()
        async with self._cursor() as db:
            await db.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
            (now,) = await db.fetchone()
        return float(now) - up - (anyio.current_time() - began) / 2

    # -- runs ---------------------------------------------------------------------------------------------------

    @override
    @_again
    async def make_run(
        self,
        run: RunRow,
        targets: Sequence[Sequence[Any]],
        parts: Mapping[int, str],
        made: Row,
        forbid_overlap: bool,
        names: Mapping[str, Mapping[str, str]],
    ) -> tuple[int, Sequence[Overlap]]:
        async with self._cursor() as db:
            await db.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"{self._schema}.run",))
            await db.execute("SELECT num FROM run WHERE id = %s", (run.id,))
            if (there := await db.fetchone()) is not None:
                if run.id in self._making:  # by us, a moment ago, and the answer was lost
                    self._making.discard(run.id)
                    return int(there[0]), ()
                raise JournalError(f"run {run.id} exists already; `orchestrator resume {run.id}`, or take another id")
            overlaps = await self._overlaps(db, {target[0]: target[0] for target in targets}, names)
            if overlaps and forbid_overlap:
                return 0, overlaps
            self._making.add(run.id)
            await db.execute(
                "INSERT INTO run (id, name, made_at, targets, parent) VALUES (%s, %s, %s, %s, %s) RETURNING num",
                (run.id, run.name, run.made_at, run.targets, run.parent),
            )
            (num,) = await db.fetchone()
            columns = "run, place, id, account, repo, branch, wave, matrix, request, rest"
            async with db.copy(f"COPY target ({columns}) FROM STDIN") as copy:
                for place, target in enumerate(targets):
                    await copy.write_row((num, place, *target))
            await db.executemany(
                "INSERT INTO part (run, number, body) VALUES (%s, %s, %s)",
                [(num, number, body) for number, body in parts.items()],
            )
            stream = await self._add_stream(db, num, COORDINATOR)
            await self._write_rows(db, stream, 1, [made])
        self._making.discard(run.id)
        return int(num), overlaps

    async def _overlaps(
        self, db: Any, wanted: Mapping[str, str], names: Mapping[str, Mapping[str, str]]
    ) -> list[Overlap]:
        found = []
        await db.execute("SELECT num, id FROM run WHERE ended_at IS NULL ORDER BY num")
        for num, run in await db.fetchall():
            if known := names.get(run, wanted):
                await db.execute("SELECT id FROM target WHERE run = %s ORDER BY place", (num,))
                found += [Overlap(run, known[id_]) for (id_,) in await db.fetchall() if id_ in known]
        return found

    @override
    @_again
    async def run_number(self, run: str) -> int | None:
        async with self._cursor() as db:
            await db.execute("SELECT num FROM run WHERE id = %s", (run,))
            row = await db.fetchone()
        return None if row is None else int(row[0])

    @override
    @_again
    async def runs(self, prefix: str, open_only: bool) -> Sequence[tuple[RunRow, Sequence[Hold]]]:
        async with self._cursor() as db:
            await db.execute(f"SELECT run, {HOLD} FROM stream JOIN incarnation i ON i.id = holder")  # noqa: S608  # a constant
            holds: dict[int, list[Hold]] = {}
            for num, *hold in await db.fetchall():
                holds.setdefault(num, []).append(_hold(hold))
            await db.execute(
                "SELECT num, id, name, made_at, targets, ended_at, exit_code, parent FROM run"
                " WHERE starts_with(id, %s) AND (ended_at IS NULL OR NOT %s) ORDER BY made_at DESC, num DESC",
                (prefix, open_only),
            )
            rows = await db.fetchall()
        return [
            (RunRow(id_, name, at, targets, ended, code, False, parent), holds.get(num, ()))
            for num, id_, name, at, targets, ended, code, parent in rows
        ]

    @override
    @_again
    async def targets(self, run: int) -> tuple[Sequence[Sequence[Any]], Mapping[int, str]]:
        async with self._cursor() as db:
            return await self._targets(db, run)

    async def _targets(self, db: Any, run: int) -> tuple[Sequence[Sequence[Any]], Mapping[int, str]]:
        columns = "id, account, repo, branch, wave, matrix, request, rest"
        await db.execute(f"SELECT {columns} FROM target WHERE run = %s ORDER BY place", (run,))  # noqa: S608  # a constant
        rows = await db.fetchall()
        await db.execute("SELECT number, body FROM part WHERE run = %s", (run,))
        return rows, dict(await db.fetchall())

    @override
    @_again
    async def target_ids(self, run: int) -> Sequence[str]:
        async with self._cursor() as db:
            await db.execute("SELECT id FROM target WHERE run = %s ORDER BY place", (run,))
            return [id_ for (id_,) in await db.fetchall()]

    @override
    @_again
    async def outcomes(self, wanted: Collection[str] | None) -> Mapping[str, Sequence[Known]]:
        async with self._cursor() as db:
            return await self._outcomes(db, wanted)

    async def _outcomes(self, db: Any, wanted: Collection[str] | None) -> Mapping[str, Sequence[Known]]:
        everything = wanted is None
        query = "SELECT target, outcomes FROM past WHERE %s OR target = ANY(%s)"
        await db.execute(query, (everything, list(wanted or ())))
        return {one: [from_json(Known, it) for it in json.loads(text)] for one, text in await db.fetchall()}

    @override
    @_again
    async def drop_runs(self, runs: Collection[str]) -> Sequence[str]:
        gone = []
        for run in runs:  # a transaction each: such a run may have many events
            async with self._cursor() as db:
                await db.execute("SELECT num FROM run WHERE id = %s AND ended_at IS NOT NULL FOR UPDATE", (run,))
                if (row := await db.fetchone()) is not None:
                    await self._keep_outcomes(db, run, row[0])
                    await db.execute("DELETE FROM run WHERE num = %s", row)
                    gone.append(run)
        return gone

    async def _keep_outcomes(self, db: Any, run: str, num: int) -> None:
        """Keeps how the targets of a run ended; of one that cannot be read there is nothing to keep."""
        try:
            history = History(targets_of(*await self._targets(db, num)))
            await db.execute(
                "SELECT account, seq, at, kind, target, body FROM event JOIN stream ON stream.num = event.stream"
                " WHERE run = %s ORDER BY stream.num, seq",
                (num,),
            )
            for account, seq, at, kind, place, body in await db.fetchall():
                id_ = None if place is None else history.targets[place].id
                history.add(account, seq, at, decode(kind, id_, body))
            found = list(outcomes_of(run, history))
        except (JournalError, *DAMAGES):
            return
        kept = await self._outcomes(db, {target for target, _ in found})
        for target, known in found:
            text = json.dumps([to_json(one) for one in newest([*kept.get(target, ()), known])], separators=(",", ":"))
            await db.execute(
                "INSERT INTO past (target, outcomes) VALUES (%s, %s)"
                " ON CONFLICT (target) DO UPDATE SET outcomes = excluded.outcomes",
                (target, text),
            )

    @override
    async def export(self, path: Path, runs: Collection[str] | None) -> None:
        raise JournalError(
            f"{self.place}: a state in PostgreSQL is kept by its own backup (pg_dump, pg_basebackup); "
            "it is not written into a file"
        )

    # -- events and wishes --------------------------------------------------------------------------------------

    async def _add_stream(self, db: Any, run: int, account: str) -> int:
        await db.execute(
            "INSERT INTO stream (run, account) VALUES (%s, %s)"
            " ON CONFLICT (run, account) DO UPDATE SET run = stream.run RETURNING num",
            (run, account),
        )
        (num,) = await db.fetchone()
        return int(num)

    async def _write_rows(self, db: Any, stream: int, first: int, rows: Sequence[Row]) -> None:
        await db.executemany(
            "INSERT INTO event (stream, seq, at, kind, target, body) VALUES (%s, %s, %s, %s, %s, %s)",
            [(stream, seq, at, kind, place, _text(body)) for seq, (at, kind, place, body) in enumerate(rows, first)],
        )
        await db.execute("UPDATE stream SET last_seq = %s WHERE num = %s", (first + len(rows) - 1, stream))

    @override
    @_again
    async def append(self, take: Callable[[], Document]) -> None:
        with anyio.CancelScope(shield=True):
            async with self._cursor() as db:
                document = take()
                pieces = [
                    {
                        "s": piece.stream,
                        "e": piece.epoch,
                        "f": piece.first,
                        "n": len(piece.rows),
                        "run": piece.run,
                        "ended": None if piece.ended is None else piece.ended[0],
                        "code": None if piece.ended is None else piece.ended[1],
                    }
                    for piece in document.pieces
                ]
                rows = [
                    {"s": piece.stream, "q": seq, "at": at, "k": kind, "t": place, "b": _text(body)}
                    for piece in document.pieces
                    for seq, (at, kind, place, body) in enumerate(piece.rows, piece.first)
                ]
                await db.execute(APPEND, (json.dumps({"p": pieces, "r": rows}),))
                (found,) = await db.fetchone()
                if found:
                    raise Refused({int(number): (epoch, last) for number, epoch, last in found})
                await self._write_usage(db, document.usage)

    @override
    @_again
    async def events(self, run: int, after: Cursor, at_most: int) -> Sequence[tuple[str, Sequence[tuple[Any, ...]]]]:
        async with self._cursor() as db:
            await db.execute(
                "SELECT account, seq, at, kind, target, body FROM stream LEFT JOIN unnest(%s::text[], %s::int[])"
                " AS known (name, last) ON known.name = account JOIN event ON event.stream = stream.num"
                " AND seq > coalesce(known.last, 0) WHERE run = %s ORDER BY stream.num, seq LIMIT %s",
                (list(after), list(after.values()), run, at_most),
            )
            rows = await db.fetchall()
        found: dict[str, list[tuple[Any, ...]]] = {}
        for account, *row in rows:
            found.setdefault(account, []).append(tuple(row))
        return list(found.items())

    @override
    @_again
    async def wish(self, run: int, kind: str, body: str) -> None:
        async with self._cursor() as db:
            await db.execute("SELECT 1 FROM run WHERE num = %s FOR UPDATE", (run,))  # numbers without a gap, in order
            await db.execute(
                "INSERT INTO wish (run, number, kind, body)"
                " SELECT %s, coalesce(max(number), 0) + 1, %s, %s FROM wish WHERE run = %s",
                (run, kind, _text(body), run),
            )
            await db.execute("SELECT nextval('written')")

    @override
    @_again
    async def wishes(self, run: int, after: int) -> Sequence[tuple[int, str, str]]:
        async with self._cursor() as db:
            query = "SELECT number, kind, body FROM wish WHERE run = %s AND number > %s ORDER BY number"
            await db.execute(query, (run, after))
            return [(number, kind, body) for number, kind, body in await db.fetchall()]

    # -- leases -------------------------------------------------------------------------------------------------

    @override
    @_again
    async def claim(
        self,
        run: int,
        accounts: Sequence[str],
        by: Incarnation,
        now: float,
        fact: tuple[str, str],
        is_new: bool,
    ) -> Sequence[Granted] | InTheWay | None:
        async with self._cursor() as db:
            if is_new:
                await self._add_incarnation(db, by, now)
            elif not await self._renew(db, by.id, now):
                return None
            nums = {account: await self._add_stream(db, run, account) for account in sorted(accounts)}
            found = {}
            for account, num in sorted(nums.items(), key=lambda pair: pair[1]):
                await db.execute("SELECT holder FROM stream WHERE num = %s FOR UPDATE", (num,))
                (holder,) = await db.fetchone()
                if holder is not None:  # a renewal that is not yet committed must be waited for
                    await db.execute("SELECT 1 FROM incarnation WHERE id = %s FOR SHARE", (holder,))
                query = f"SELECT last_seq, {HOLD} FROM stream LEFT JOIN incarnation i ON i.id = holder"  # noqa: S608
                await db.execute(f"{query} WHERE num = %s", (num,))
                last, *hold = await db.fetchone()
                found[account] = (num, int(last), _hold(hold))
            for account in accounts:
                hold = found[account][2]
                if not hold.is_over(now) and hold.incarnation != by.id:  # ours: the answer to a claim was lost
                    return InTheWay(account, hold)
            return [await self._grant(db, run, account, *found[account], by, now, fact) for account in accounts]

    async def _grant(
        self,
        db: Any,
        run: int,
        account: str,
        stream: int,
        last: int,
        before: Hold,
        by: Incarnation,
        now: float,
        fact: tuple[str, str],
    ) -> Granted:
        if before.incarnation not in ("", by.id):
            await self._end(db, before.incarnation)
        epoch, seq = before.epoch + 1, last + 1
        await db.execute("UPDATE stream SET epoch = %s, holder = %s WHERE num = %s", (epoch, by.id, stream))
        await self._write_rows(db, stream, seq, [(now, Claimed.kind, None, f"{fact[0]}{epoch}{fact[1]}")])
        if account == COORDINATOR:
            await db.execute("UPDATE run SET ended_at = NULL, exit_code = NULL WHERE num = %s", (run,))
        return Granted(stream, epoch, seq, before)

    async def _add_incarnation(self, db: Any, by: Incarnation, now: float) -> None:
        await db.execute(
            "DELETE FROM incarnation WHERE (ended OR heartbeat + lease_for <= %s)"
            " AND NOT EXISTS (SELECT 1 FROM stream WHERE holder = incarnation.id)",
            (now,),
        )
        process = by.process
        await db.execute(
            "INSERT INTO incarnation (id, host, boot, pid, started, heartbeat, lease_for)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING",
            (by.id, process.host, process.boot, process.pid, process.started, now, by.lease_for),
        )

    async def _renew(self, db: Any, incarnation: str, now: float) -> bool:
        await db.execute(
            "UPDATE incarnation SET heartbeat = greatest(heartbeat, %s)"
            " WHERE id = %s AND NOT ended AND heartbeat + lease_for > %s",
            (now, incarnation, now),
        )
        return bool(db.rowcount)

    async def _end(self, db: Any, incarnation: str) -> None:
        await db.execute("UPDATE incarnation SET ended = true WHERE id = %s", (incarnation,))

    @override
    @_again
    async def end(self, incarnation: str) -> None:
        async with self._cursor() as db:
            await self._end(db, incarnation)

    @override
    @_again
    async def renew(
        self, by: str, heir: Incarnation, now: float, usage: Callable[[], UsageNews]
    ) -> tuple[str, Collection[int]]:
        async with self._cursor() as db:
            await self._write_usage(db, usage())
            lives = by
            if not await self._renew(db, by, now):
                lives = heir.id
                await self._add_incarnation(db, heir, now)
                await db.execute("UPDATE stream SET holder = %s WHERE holder = %s", (heir.id, by))
                await self._end(db, by)
            await db.execute("SELECT num FROM stream WHERE holder = %s", (lives,))
            return lives, {int(num) for (num,) in await db.fetchall()}

    @override
    @_again
    async def release(self, streams: Sequence[tuple[int, int]]) -> None:
        async with self._cursor() as db:
            for stream, epoch in sorted(streams):
                await db.execute(
                    "UPDATE stream SET sent_until = (SELECT heartbeat + lease_for * %s FROM incarnation"
                    " WHERE id = holder), holder = NULL WHERE num = %s AND epoch = %s AND holder IS NOT NULL",
                    (SENDS_FOR, stream, epoch),
                )

    # -- principals ---------------------------------------------------------------------------------------------

    async def _principal(self, db: Any, name: str) -> int:
        """The number of a principal, which is locked until the transaction's end, so that one asks at a time."""
        await db.execute(
            "INSERT INTO principal (name) VALUES (%s) ON CONFLICT (name) DO UPDATE SET name = excluded.name"
            " RETURNING num",
            (name,),
        )
        (num,) = await db.fetchone()
        return int(num)

    @override
    @_again
    async def reserve(
        self,
        principal: str,
        limits: Sequence[SharedLimit],
        records: Sequence[tuple[int, UsageRecord]],
        at: float,
        is_gone: Callable[[str], bool],
        usage: Callable[[], UsageNews],
    ) -> tuple[float, str]:
        async with self._cursor() as db:
            number = await self._principal(db, principal)
            await self._write_usage(db, usage())
            longest, name = 0.0, ""
            for limit in limits:
                delay = await self._delay(db, number, limit, at, is_gone)
                if delay > longest:
                    longest, name = delay, limit.name
            if not longest:
                await self._write_usage(db, UsageNews(records))
        return longest, name

    async def _delay(
        self, db: Any, principal: int, limit: SharedLimit, at: float, is_gone: Callable[[str], bool]
    ) -> float:
        """Seconds until the limit has room for one more call."""
        where = "principal = %s AND name = %s AND scope = %s AND at > %s"
        if limit.while_alive:
            query = f"SELECT holder, count(*) FROM stamp WHERE {where} GROUP BY holder"  # noqa: S608  # a constant
            await db.execute(query, (principal, limit.name, limit.scope, at))
            held = sum(calls for holder, calls in await db.fetchall() if not is_gone(holder))
            return ASK_AGAIN if held >= limit.calls else 0.0
        query = f"SELECT at FROM stamp WHERE {where} ORDER BY at DESC LIMIT 1 OFFSET %s"  # noqa: S608  # a constant
        known = (principal, limit.name, limit.scope, at - limit.per, limit.calls - 1)
        await db.execute(query, known)
        row = await db.fetchone()
        if row is None:  # fewer calls than the limit allows
            return 0.0
        delay = float(row[0]) + limit.per - at
        return min(ASK_AGAIN, delay) if row[0] > at else delay  # in the future: that call has no answer yet

    @override
    @_again
    async def settle(self, usage: UsageNews) -> None:
        async with self._cursor() as db:
            await self._write_usage(db, usage)

    async def _write_usage(self, db: Any, usage: UsageNews) -> None:
        if usage is NO_NEWS:
            return
        names = sorted({one.principal for _, one in usage.records})
        numbers = {name: await self._principal(db, name) for name in names}
        if usage.records:
            await db.executemany(
                "INSERT INTO stamp (num, at, principal, name, scope, per, holder) VALUES (%s, %s, %s, %s, %s, %s, %s)"
                " ON CONFLICT (num) DO NOTHING",
                [(key, r.at, numbers[r.principal], r.name, r.scope, r.per, r.holder) for key, r in usage.records],
            )
            latest = max(record.at for _, record in usage.records)
            if latest - self._pruned_at >= PRUNE_EVERY:
                self._pruned_at = latest
                await db.execute("DELETE FROM stamp WHERE at < %s", (latest - KEPT_FOR,))
        if usage.settled:
            await db.executemany(
                "UPDATE stamp SET at = %s WHERE num = %s", [(at, key) for key, at in sorted(usage.settled)]
            )

    @override
    @_again
    async def remember(self, principal: str, marker_proven: bool, frozen: Mapping[Scope, float], alias: str) -> None:
        async with self._cursor() as db:
            number = await self._principal(db, principal)
            if marker_proven:
                await db.execute("UPDATE principal SET marker_proven = true WHERE num = %s", (number,))
            if alias:
                await db.execute("UPDATE principal SET alias = %s WHERE num = %s", (alias, number))
            for scope, until in sorted(frozen.items()):
                await db.execute(
                    "INSERT INTO frozen (principal, scope, until) VALUES (%s, %s, %s) ON CONFLICT (principal, scope)"
                    " DO UPDATE SET until = greatest(frozen.until, excluded.until)",
                    (number, str(scope), until),
                )
            await db.execute("SELECT nextval('written')")

    @override
    @_again
    async def memory(self, principal: str, since: float) -> AccountMemory:
        query = "SELECT num, name, marker_proven, alias FROM principal WHERE name = %s"
        async with self._cursor() as db:
            await db.execute(query, (principal,))
            rows = await db.fetchall()
            alias = rows[0][3] if rows else ""
            if alias:
                await db.execute(query, (alias,))
                rows += await db.fetchall()
            frozen: dict[Scope, float] = {}
            records: list[UsageRecord] = []
            for num, name, _, _ in rows:
                await db.execute("SELECT scope, until FROM frozen WHERE principal = %s", (num,))
                for scope, until in await db.fetchall():
                    frozen[Scope.of(scope)] = max(float(until), frozen.get(Scope.of(scope), 0.0))
                await db.execute(
                    "SELECT name, scope, at, per FROM stamp WHERE at >= %s AND principal = %s", (since, num)
                )
                for rule, scope, at, per in await db.fetchall():
                    records.append(UsageRecord(name, rule, Scope.of(scope), float(at), float(per)))
        return AccountMemory(any(row[2] for row in rows), frozen, alias, records)


def _hold(row: Sequence[Any]) -> Hold:
    """The lease in a row of HOLD."""
    epoch, sent_until, incarnation, host, boot, pid, started, heartbeat, lease_for, ended = row
    if incarnation is None:
        return Hold(int(epoch), sent_until)
    process = Process(host, boot, int(pid), started)
    return Hold(int(epoch), sent_until, incarnation, process, float(heartbeat), float(lease_for), bool(ended))


def _text(body: str) -> str:
    """JSON as the database's `json` takes it: it refuses an escaped NUL, which a service may have sent."""
    return body.replace("\\u0000", "\\ufffd")


def _is_for_good(error: Exception) -> bool:
    """Whether it makes no sense to try again: a wrong name, password or certificate is no outage."""
    said = str(error).lower()
    words = ("does not exist", "authentication failed", "no password supplied", "certificate", "no pg_hba.conf entry")
    return any(word in said for word in words)
