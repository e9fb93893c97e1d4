"""What each kind of row shows: its fields, its representations, its address (reference 2, 5.1, 7, 9)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeAlias

from orchestrator.core.frozen import Struct
from orchestrator.lookalike.kit.http import Object, exact, moment
from orchestrator.lookalike.travis.rows import VCS_OFFSET, Branch, Build, Commit, Job, Owner, Repo, Request, User

Getter: TypeAlias = Callable[[Any], Any]


class Shape(Struct, frozen=True):
    """How one kind of row is shown: `getters` of all fields, `shown` those of each representation.

    Args:
        rights: `@permissions` of a user who may create builds, and of one who may not.
    """

    type: str
    address: Getter
    getters: Mapping[str, Getter]
    shown: Mapping[str, Sequence[tuple[str, Getter]]]
    rights: Mapping[bool, Mapping[str, bool]]


def shape(
    type_: str,
    address: Callable[[Any], str | None],
    permissions: str,
    fields: Mapping[str, Getter],
    paths: str = "",
    **shown: str,
) -> Shape:
    """A shape from texts, each of words separated by spaces.

    Args:
        permissions: `name!` needs the right to create builds, `name-` is never given.
        fields: those that are computed.
        paths: `name=attribute.of.the.row`; any other field is the row's own attribute of its name.
    """
    getters: dict[str, Getter] = {name: attrgetter(name) for names in shown.values() for name in names.split()}
    getters |= {name: attrgetter(path) for name, _, path in (each.partition("=") for each in paths.split())}
    getters |= fields
    rights = {
        may: {name.rstrip("!-"): name[-1] != "-" and (may or name[-1] != "!") for name in permissions.split()}
        for may in (True, False)
    }
    fields_of = {name: [(each, getters[each]) for each in names.split()] for name, names in shown.items()}
    return Shape(type_, address, getters, fields_of, rights)


def always(value: Any, names: str) -> dict[str, Getter]:
    """Fields that show the same for every row."""
    return dict.fromkeys(names.split(), lambda row: value)


def times(show: Getter, names: str) -> dict[str, Getter]:
    """Fields that are times."""
    return {name: _shown(show, attrgetter(name)) for name in names.split()}


def _shown(show: Getter, get: Getter) -> Getter:
    return lambda row: show(get(row))


def config_of(request: Request) -> Any:
    """The configuration that came with a request, as a value."""
    config = request.wanted.get("config") or "{}"
    try:
        return json.loads(config) if isinstance(config, str) else config
    except ValueError:
        return {}


def _raw_configs(request: Request) -> list[Object]:
    if request.commit is None or "config" not in request.wanted:
        return []
    mode = request.wanted.get("merge_mode")
    return [{"config": json.dumps(config_of(request)), "source": "api", "merge_mode": mode}]


JOINED = "2026-01-01T00:00:00Z"
AVATAR = "https://sandbox.invalid/avatar"
OWNED = "avatar_url education allow_migration allowance ro_mode custom_keys trial_allowed account_env_vars"
BUILD = (
    "id number state duration event_type previous_state pull_request_title pull_request_number started_at finished_at "
    "private priority"
)
BUILD_STANDARD = f"{BUILD} repository branch tag commit jobs stages created_by updated_at"
COMMIT = "id sha ref message compare_url committed_at"
REQUEST = "id state result message pull_request_mergeable"

VCS_IDS: dict[str, Getter] = {
    "vcs_id": lambda row: str(row.id + VCS_OFFSET),
    "github_id": lambda row: row.id + VCS_OFFSET,
}
OF_OWNERS: dict[str, Getter] = {
    **VCS_IDS,
    **always(False, "education allow_migration ro_mode trial_allowed"),
    **always([], "custom_keys account_env_vars"),
    "name": lambda row: row.login.capitalize(),
    "allowance": lambda row: {"@type": "allowance", "@representation": "minimal", "id": row.id},
}

SHAPES: dict[type, Shape] = {
    Repo: shape(
        "repository",
        lambda row: f"/repo/{row.id}",
        "read delete_key_pair create_request! check_scan_results settings_update settings_read build_restart! "
        "build_create! build_cancel! build_debug! log_view log_delete cache_delete cache_view admin! settings_delete "
        "settings_create activate! deactivate! migrate- star unstar create_cron create_env_var create_key_pair",
        {
            **VCS_IDS,
            **always(None, "description github_language active_on_org migration_status scan_failed_at current_build"),
            **always(None, "history_migration_status"),
            **always(False, "starred shared"),
            **always(True, "managed_by_installation config_validation"),
            **always("git", "server_type"),
            "vcs_type": lambda row: f"{row.vcs.capitalize()}Repository",
            "default_branch": lambda row: row.branches[row.default_branch],
            "build_count": lambda row: len(row.builds),
        },
        "owner_name=owner.login vcs_name=name",
        minimal="id name slug",
        standard="id name slug description github_id vcs_id vcs_type github_language active private owner owner_name "
        "vcs_name default_branch starred managed_by_installation active_on_org migration_status "
        "history_migration_status shared config_validation server_type scan_failed_at build_count",
    ),
    Owner: shape(
        "organization",
        lambda row: f"/org/{row.id}",
        "read sync settings_delete- settings_create- plan_invoices- plan_usage- plan_view- plan_create- "
        "billing_update- admin billing_view",
        {
            **OF_OWNERS,
            **always(None, "avatar_url"),
            "vcs_type": lambda row: f"{row.vcs.capitalize()}Organization",
        },
        minimal="id login name vcs_type ro_mode",
        standard=f"id login name github_id vcs_id vcs_type {OWNED}",
        owner="id login ro_mode",  # as a repository shows its own
    ),
    User: shape(
        "user",
        lambda row: f"/user/{row.id}",
        "read sync",
        {
            **OF_OWNERS,
            **always(None, "education is_syncing synced_at secure_user_hash"),
            **always(False, "recently_signed_up internal"),
            **always(JOINED, "confirmed_at last_activity_at"),
            **always([], "memberships"),
            **always(AVATAR, "avatar_url"),
            **always("GithubUser", "vcs_type"),
            "email": lambda row: f"{row.login}@sandbox.invalid",
        },
        minimal="id login",
        standard=f"id login name github_id vcs_id vcs_type {OWNED} email is_syncing synced_at recently_signed_up "
        "secure_user_hash confirmed_at internal last_activity_at memberships",
    ),
    Branch: shape(
        "branch",
        lambda row: f"/repo/{row.repo.id}/branch/{row.name}",
        "",
        {**always(True, "exists_on_github"), "default_branch": lambda row: row.name == row.repo.default_branch},
        "repository=repo",
        minimal="name",
        standard="name repository default_branch exists_on_github last_build",
    ),
    Commit: shape(
        "commit",
        lambda row: None,
        "",
        {
            **times(moment, "committed_at"),
            **always({"name": "Sandbox", "avatar_url": AVATAR}, "committer author"),
            "ref": lambda row: f"refs/heads/{row.branch}",
            "compare_url": lambda row: f"https://github.com/{row.repo.slug}/compare/{row.sha}",
        },
        minimal=COMMIT,
        standard=f"{COMMIT} committer author",
    ),
    Request: shape(
        "request",
        lambda row: f"/repo/{row.repo.id}/request/{row.id}",
        "",
        {
            **always(None, "pull_request_mergeable base_commit head_commit yaml_config"),
            **always("api", "event_type"),
            **always([], "messages"),
            **times(moment, "created_at"),
            "branch_name": lambda row: row.commit and row.commit.branch,
            "config": lambda row: {} if row.commit is None else config_of(row),
            "raw_configs": _raw_configs,
        },
        "repository=repo owner=repo.owner",
        minimal=REQUEST,
        standard=f"{REQUEST} repository branch_name commit builds owner created_at event_type base_commit head_commit "
        "messages config raw_configs",
    ),
    Build: shape(
        "build",
        lambda row: f"/build/{row.id}",
        "read cancel! restart! prioritize-",
        {
            **always(None, "pull_request_title pull_request_number tag"),
            **always("api", "event_type"),
            **always(False, "priority"),
            **always([], "stages"),
            **times(moment, "started_at finished_at"),
            **times(exact, "updated_at"),
            "number": lambda row: str(row.number),
            "branch": lambda row: row.repo.branches.get(row.commit.branch),
        },
        "previous_state=previous private=repo.private repository=repo created_by=request.user",
        minimal=BUILD,
        list=f"{BUILD} branch tag commit request created_by",
        standard=BUILD_STANDARD,
    ),
    Job: shape(
        "job",
        lambda row: f"/job/{row.id}",
        "read delete_log! view_log debug! cancel! restart! prioritize-",
        {
            **always(None, "stage restarted_by vm_size"),
            **always("builds.linux", "queue"),
            **times(moment, "started_at finished_at"),
            **times(exact, "created_at updated_at restarted_at"),
            "config": lambda row: config_of(row.build.request),
        },
        "repository=build.repo commit=build.commit owner=build.repo.owner private=build.repo.private",
        minimal="id",
        standard="id allow_failure number state started_at finished_at build queue repository commit owner stage "
        "created_at updated_at private restarted_at restarted_by vm_size",
    ),
}
SHAPE_OF: Mapping[str, Shape] = {shape.type: shape for shape in SHAPES.values()}
