"""The services of a Jenkins: what changes something, then what only shows."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

from orchestrator.core.frozen import Struct
from orchestrator.lookalike.jenkins.rows import Item, Job, Tables
from orchestrator.lookalike.jenkins.shapes import Shapes, parse, shallow
from orchestrator.lookalike.kit.http import HTML, Incoming, Object, Refused, Reply, json_reply, route, text
from orchestrator.lookalike.kit.life import Stage

CRUMB, FIELD = "5f0c1a77e3", "Jenkins-Crumb"
COOKIE = "JSESSIONID.sandbox=node0sandbox"


class Context(Struct):
    """One call, and all that there is."""

    call: Incoming
    now: float
    tables: Tables
    shapes: Shapes
    names: Mapping[str, str]
    stuck: bool

    @property
    def given(self) -> dict[str, str]:
        """Query and form."""
        form = parse_qsl(self.call.body.decode("utf-8", "replace"), keep_blank_values=True)
        return {**dict(self.call.query), **dict(form)}

    def job(self) -> Job:
        """The job of the path."""
        found = self.tables.find(job_names(self.names["job"]))
        if found is None:
            raise failed(404, "Not Found")
        return found

    def build(self) -> Item:
        """The build of the path."""
        builds = self.job().builds
        if self.names["number"] == "lastBuild" and builds:
            return builds[-1]
        count = int(self.names["number"]) if self.names["number"].isdecimal() else 0
        if not 0 < count <= len(builds) or builds[count - 1].visible_at > self.now:
            raise failed(404, "Not Found")
        return builds[count - 1]

    def shown(self, value: Object) -> Reply:
        """An object as its query asks for."""
        query = dict(self.call.query)
        if tree := query.get("tree"):
            return json_reply(200, parse(tree).pick(value))
        depth = query.get("depth", "0")
        return json_reply(200, shallow(value, min(int(depth), 2) if depth.isdecimal() else 0))


def job_names(path: str) -> list[str]:
    """The names of `acme/job/widget`; that of a branch is encoded once more, and stays so."""
    return [unquote(name) for name in path.split("/job/")]


def failed(status: int, reason: str) -> Refused:
    """A page that says no."""
    return Refused(text(status, f"<html><body><h2>HTTP ERROR {status} {reason}</h2></body></html>", HTML), reason[:60])


def to(status: int, location: str) -> Reply:
    """An answer that says all by where it leads to."""
    return Reply(status, {"Location": location}, b"")


# -- what changes something -----------------------------------------------------------------------------------------


@route("POST /job/{job...}/buildWithParameters")
@route("POST /job/{job...}/build")
def build(context: Context) -> Reply:
    """All checks, then an item of the queue."""
    job, spec = context.job(), context.job().spec
    with_parameters = context.call.path.endswith("/buildWithParameters")
    if job.jobs:
        raise failed(404, "Not Found")
    if not spec.may_trigger:
        raise failed(403, f"{context.tables.settings.login} is missing the Job/Build permission")
    if not spec.active:
        raise failed(409, f"{job.path[-1]} is not buildable")
    if with_parameters and not spec.parameters:
        raise failed(400, f"{job.path[-1]} is not parameterized")
    if spec.vetoed:
        return to(302, ".")
    given = context.given
    sent = {name: given.get(name, "") for name in spec.parameters}
    item, is_new = context.tables.put(context.now, job, sent, stuck=context.stuck)
    return to(201 if is_new or not with_parameters else 303, f"{context.shapes.base}/queue/item/{item.id}/")


@route("POST /queue/cancelItem")
def cancel_item(context: Context) -> Reply:
    given = context.given.get("id", "")
    item = context.tables.items.get(int(given)) if given.isdecimal() else None
    if item is None or not item.is_waiting:
        raise failed(404, "Not Found")
    context.tables.life.cancel(context.now, item)
    return Reply(204, {}, b"")


@route("POST /job/{job...}/{number}/stop")
@route("POST /job/{job...}/{number}/term")
@route("POST /job/{job...}/{number}/kill")
def stop(context: Context) -> Reply:
    """Leads to the build's page, whether it was stopped or had ended."""
    item = context.build()
    context.tables.life.cancel(context.now, item)
    return to(302, f"{context.shapes.url(item.job)}{item.number}/")


# -- what only shows ------------------------------------------------------------------------------------------------


@route("GET /crumbIssuer/api/json")
def crumb(context: Context) -> Reply:
    shown = {"_class": "hudson.security.csrf.DefaultCrumbIssuer", "crumb": CRUMB, "crumbRequestField": FIELD}
    reply = context.shown(shown)
    reply.headers["Set-Cookie"] = f"{COOKIE}; Path=/; HttpOnly"
    return reply


@route("GET /me/api/json")
@route("GET /user/{user}/api/json")
def me(context: Context) -> Reply:
    login = context.tables.settings.login
    shown = {"_class": "hudson.model.User", "id": login, "fullName": "Sandbox", "property": []}
    return context.shown({**shown, "absoluteUrl": f"{context.shapes.base}/user/{login}"})


@route("GET /whoAmI/api/json")
def who(context: Context) -> Reply:
    return context.shown(
        {"_class": "hudson.security.WhoAmI", "name": context.tables.settings.login, "anonymous": False}
    )


@route("GET /queue/api/json")
def queue(context: Context) -> Reply:
    items = [context.shapes.item(item) for item in context.tables.queue(context.now)]
    return context.shown({"_class": "hudson.model.Queue", "items": items, "discoverableItems": []})


@route("GET /queue/item/{item:int}/api/json")
def item(context: Context) -> Reply:
    """An item, also for a while after it has left."""
    found = context.tables.items.get(int(context.names["item"]))
    kept = context.tables.settings.left
    if found is None or not (found.is_waiting or context.now < (found.ran_at or found.updated_at) + kept):
        raise failed(404, "Not Found")
    return context.shown(context.shapes.item(found))


@route("GET /api/json")
def root(context: Context) -> Reply:
    return context.shown(context.shapes.job(context.tables.root))


@route("GET /computer/api/json")
def nodes(context: Context) -> Reply:
    return context.shown({"_class": "hudson.model.ComputerSet", "computer": [], "totalExecutors": 2})


@route("GET /job/{job...}/{number:int}/api/json")
@route("GET /job/{job...}/lastBuild/api/json")
def one_build(context: Context) -> Reply:
    return context.shown(context.shapes.build(context.build()))


@route("GET /job/{job...}/api/json")
def one_job(context: Context) -> Reply:
    return context.shown(context.shapes.job(context.job()))


@route("GET /job/{job...}/{number:int}/consoleText")
@route("GET /job/{job...}/{number:int}/logText/progressiveText")
def console(context: Context) -> Reply:
    """The console, from the byte that is asked for; more than there is begins anew."""
    whole = printed(context, context.build()).encode()
    start = dict(context.call.query).get("start", "0")
    at = int(start) if start.isdecimal() and int(start) <= len(whole) else 0
    reply = text(200, whole[at:].decode("utf-8", "replace"))
    reply.headers["X-Text-Size"] = str(len(whole))
    if context.build().stage is not Stage.OVER:
        reply.headers["X-More-Data"] = "true"
    return reply


@route("GET /job/{job...}/{number:int}/")
def page(context: Context) -> Reply:
    """What people see, and clients that follow a redirect."""
    return text(200, f"<html><body>Build #{context.build().number}</body></html>", HTML)


def printed(context: Context, item: Item) -> str:
    """What a build printed."""
    tables = context.tables
    lines = [f"Started by user {tables.settings.login}", "+ make test", *tables.life.printed(item)]
    lines += ["Build step 'Execute shell' marked build as failure"] if item.outcome == "FAILURE" else []
    return "".join(f"{line}\n" for line in [*lines, f"Finished: {item.outcome}"])
