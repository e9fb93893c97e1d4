"""The services of the API: what changes something, then what only shows.

`(reference 7)` names a section of the facts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from orchestrator.lookalike.buildbot import rows
from orchestrator.lookalike.buildbot.context import Context, missing, rpc_failed
from orchestrator.lookalike.buildbot.rows import Builder, Tables
from orchestrator.lookalike.buildbot.settings import Settings
from orchestrator.lookalike.kit.http import Object, Refused, Reply, credentials, json_reply, route, text
from orchestrator.lookalike.kit.life import Stage

API = "/api/v2"
COOKIE = "TWISTED_SESSION"
ROLE = "you need to have role 'operators'"


def _asked(context: Context) -> tuple[object, str, Mapping[str, Any]]:
    """Id, method and parameters of a call in JSON-RPC."""
    if context.settings.closed and not _has_session(context):
        raise rpc_failed(403, -32600, ROLE, 1)
    try:
        body = json.loads(context.call.body)
    except ValueError:
        raise rpc_failed(400, -32700, "JSON parse error") from None
    is_kind = context.call.headers.get("content-type", "").startswith("application/json")
    if not isinstance(body, dict) or not is_kind or body.get("jsonrpc") != "2.0" or "id" not in body:
        raise rpc_failed(400, -32600, "Invalid JSON-RPC call")
    return body["id"], str(body.get("method")), body.get("params") or {}


def _result(id_: object, result: object) -> Reply:
    return json_reply(200, {"id": id_, "jsonrpc": "2.0", "result": result})


def _session(settings: Settings, user: str) -> str:
    return hashlib.sha256(f"{settings.token}\n{user}".encode()).hexdigest()


def _has_session(context: Context) -> bool:
    users = (context.settings.login, *context.settings.others.values())
    return any(
        f"{COOKIE}={_session(context.settings, user)}" in context.call.headers.get("cookie", "") for user in users
    )


# -- what changes something -----------------------------------------------------------------------------------------


@route("GET /auth/login")
def login(context: Context) -> Reply:
    """A session for user and password; a Buildbot without logins breaks on it (reference 7)."""
    settings, found = context.settings, credentials(context.call.headers.get("authorization"))
    if not settings.closed:
        return text(500, "<html><head><title>Processing Failed</title></head></html>", "text/html")
    known = {settings.token: settings.login, **settings.others}
    is_known = found is not None and (known.get(found.secret) == found.user or settings.any_password)
    if found is None or found.scheme.lower() != "basic" or not is_known:
        raise Refused(text(401, "Unauthorized", "text/html"), "login")
    cookie = f"{COOKIE}={_session(settings, found.user)}; Path=/"
    return Reply(302, {"Location": "http://buildbot.invalid/#/", "Set-Cookie": cookie}, b"")


@route("POST /api/v2/forceschedulers/{name}")
def force(context: Context) -> Reply:
    """What is not declared is dropped, no builder at all is every builder (reference 3)."""
    id_, method, params = _asked(context)
    tables, name = context.tables, unquote(context.names["name"])
    if name not in context.settings.schedulers:
        raise rpc_failed(500, -32603, "AttributeError(\"'NoneType' object has no attribute 'force'\")", id_)
    if method != "force":
        return _result(id_, None)
    builders = _builders(tables, params)
    if not builders:
        raise rpc_failed(500, -32603, "KeyError('builderNames not specified or not supported')", id_)
    reason, priority = params.get("reason", ""), params.get("priority", 0)
    wrong = {key: f"need {key}: no default provided by config" for key, value in params.items() if value is None}
    wrong |= {} if type(priority) is int else {"priority": f"invalid literal for int() with base 10: {priority!r}"}
    if wrong:
        raise rpc_failed(400, -32602, wrong, id_)
    declared = [key for key in context.settings.parameters if key in params]
    sent = {key: [params[key], "Force Build Form"] for key in declared}
    for number in range(1, context.settings.free + 1):
        if free := params.get(f"property{number}_name"):
            sent[free] = [params.get(f"property{number}_value", ""), "Force Build Form"]
    told = f"A build was forced by 'nobody': {reason}" if context.settings.reason else "forced"
    args = (builders, str(params.get("branch", "")), told, sent)
    made = tables.force(context.now, *args, stuck=context.stuck)
    for request in made:
        request.priority = priority
    return _result(id_, [made[0].buildset.id, {str(each.builder.id): each.id for each in made}])


def _builders(tables: Tables, params: Mapping[str, Any]) -> list[Builder]:
    """Those that are meant, of those that are known; all of them where none is named."""
    if "builderNames" not in params:
        return list(tables.builders.values())
    named = params["builderNames"]
    return [
        tables.builders[name] for name in (named if isinstance(named, list) else [named]) if name in tables.builders
    ]


@route("POST /api/v2/buildrequests/{id:int}")
def change_request(context: Context) -> Reply:
    """Cancels it; that there is none, or that it has ended, is answered the same (reference 6)."""
    id_, method, _ = _asked(context)
    if method != "cancel":
        raise rpc_failed(500, -32603, f"action: {method} is not supported", id_)
    if (found := context.tables.request(int(context.names["id"]))) is not None:
        context.tables.life.cancel(context.now, found)
    return _result(id_, None)


@route("POST /api/v2/builds/{id:int}")
def change_build(context: Context) -> Reply:
    """Stops it, or builds the same again."""
    id_, method, _ = _asked(context)
    found = context.tables.of_build(int(context.names["id"]))
    if method == "stop":
        if found is not None:
            context.tables.life.cancel(context.now, found)
        return _result(id_, None)
    if method != "rebuild":
        raise rpc_failed(501, -32601, f"action: {method} is not supported", id_)
    if found is None:
        raise rpc_failed(500, -32603, "TypeError(\"'NoneType' object is not subscriptable\")", id_)
    made = context.tables.rebuild(context.now, found)
    return _result(id_, [made.buildset.id, {str(made.builder.id): made.id}])


# -- what only shows ------------------------------------------------------------------------------------------------


@route("GET /api/v2/masters")
def masters(context: Context) -> Reply:
    row = {"active": True, "last_active": int(context.now), "masterid": 1, "name": "sandbox:/master"}
    return context.listing("masters", [row])


@route("GET /api/v2/forceschedulers")
def schedulers(context: Context) -> Reply:
    shown = [_scheduler(context, name) for name in context.settings.schedulers]
    return json_reply(200, {"forceschedulers": shown, "meta": {}})


@route("GET /api/v2/forceschedulers/{name}")
def scheduler(context: Context) -> Reply:
    name = unquote(context.names["name"])
    if name not in context.settings.schedulers:
        raise missing(context.call.path)
    return json_reply(200, {"forceschedulers": [_scheduler(context, name)], "meta": {}})


def _scheduler(context: Context, name: str) -> Object:
    settings = context.settings
    general = [_field("username"), *([_field("reason")] if settings.reason else []), _field("priority", "int")]
    source = [_field(each) for each in ("branch", "project", "repository", "revision")]
    free = [_nested([_field(f"{one}_name"), _field(f"{one}_value")], one) for one in _free(settings)]
    fields = [_nested(general), _nested(source), *map(_field, settings.parameters), *free]
    names = sorted(context.tables.builders)
    return {"name": name, "label": name, "enabled": True, "builder_names": names, "all_fields": fields}


def _free(settings: Settings) -> list[str]:
    return [f"property{number}" for number in range(1, settings.free + 1)]


def _field(name: str, kind: str = "text") -> Object:
    return {"fullName": name, "name": name, "type": kind, "default": "", "required": False, "label": name}


def _nested(fields: list[Object], name: str | None = None) -> Object:
    return {"fullName": name, "name": name or "", "type": "nested", "default": "", "fields": fields}


@route("GET /api/v2/builders")
def builders(context: Context) -> Reply:
    return context.listing("builders", map(rows.builder, context.tables.builders.values()))


@route("GET /api/v2/buildsets")
def buildsets(context: Context) -> Reply:
    seen = [row for row in context.tables.buildsets if row.visible_at <= context.now]
    for name in ("bsid__in", "reason__contains"):  # before each of them is made, of which there may be many
        if wanted := context.asked(name):
            seen = [row for row in seen if (str(row.id) in wanted if name == "bsid__in" else wanted[0] in row.reason)]
    every = context.tables.requests
    return context.listing("buildsets", [rows.buildset(row, every) for row in seen])


@route("GET /api/v2/buildrequests")
def requests(context: Context) -> Reply:
    wanted = set(context.asked("buildrequestid__in"))
    found = (row for row in context.tables.requests if not wanted or str(row.id) in wanted)
    names = context.asked("property")
    shown = [rows.with_properties(rows.request(row), row, names) for row in found if context.is_seen(row)]
    return context.listing("buildrequests", shown)


@route("GET /api/v2/buildrequests/{id:int}")
def one_request(context: Context) -> Reply:
    return context.one("buildrequests", rows.request(context.request()))


@route("GET /api/v2/builds")
@route("GET /api/v2/buildrequests/{id:int}/builds")
@route("GET /api/v2/builders/{builder:int}/builds")
def builds(context: Context) -> Reply:
    wanted, names = set(context.asked("buildrequestid__in")), context.asked("property")
    found = [row for row in context.tables.requests if row.ran_at is not None and context.is_seen(row)]
    found = [row for row in found if not wanted or str(row.id) in wanted]
    found = [row for row in found if context.names.get("id") in (None, str(row.id))]
    found = [row for row in found if context.names.get("builder") in (None, str(row.builder.id))]
    return context.listing("builds", [rows.with_properties(rows.build(row), row, names) for row in found])


@route("GET /api/v2/builds/{id:int}")
def one_build(context: Context) -> Reply:
    return context.one("builds", rows.build(context.build()))


@route("GET /api/v2/builds/{id:int}/steps")
def steps(context: Context) -> Reply:
    row = context.build()
    is_over = row.stage is Stage.OVER
    shown: list[Object] = [
        {
            "stepid": 10 * row.build + number,
            "buildid": row.build,
            "name": name,
            "number": number,
            "complete": is_over,
            "results": results if is_over else None,
            "hidden": False,
            "urls": [],
        }
        for number, (name, results) in enumerate((("worker_preparation", 0), ("test", row.results)))
    ]
    return context.listing("steps", shown)


@route("GET /api/v2/steps/{id:int}/logs")
def logs(context: Context) -> Reply:
    step = int(context.names["id"])
    is_there = context.tables.of_build(step // 10) is not None and step % 10 == 1
    row = {
        "logid": step,
        "stepid": step,
        "name": "stdio",
        "slug": "stdio",
        "type": "s",
        "complete": True,
        "num_lines": 4,
    }
    return context.listing("logs", [row] if is_there else [])


@route("GET /api/v2/logs/{id:int}/raw")
def log(context: Context) -> Reply:
    row = context.there(context.tables.of_build(int(context.names["id"]) // 10))
    is_bad = row.outcome not in (None, "success")
    lines = ["make test", " in dir /build (timeout 1200 secs)", *context.tables.life.printed(row)]
    lines += [f"program finished with exit code {int(is_bad)}", "elapsedTime=1.019406", ""]
    return text(200, "\n".join(lines))
