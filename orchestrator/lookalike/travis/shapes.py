"""What each kind of row shows: its fields, its representations, its address (reference 2, 5.1, 7, 9)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from orchestrator.core.frozen import Struct
from orchestrator.lookalike.kit.http import Object
from orchestrator.lookalike.travis.rows import (
    ACTIVE,
    VCS_OFFSET,
    Branch,
    Build,
    Commit,
    Job,
    Owner,
    Repo,
    Request,
    User,
    exact,
    moment,
)

VCS_NAMES = {"github": "Github", "gitlab": "Gitlab", "bitbucket": "Bitbucket", "assembla": "Assembla"}
JOINED = 1_767_225_600.0  # when the user of this world joined: some day before all that happens in it
OWN_FIELDS = "avatar_url education allow_migration allowance ro_mode custom_keys trial_allowed account_env_vars"


class Shape(Struct, frozen=True):
    """How one kind of row is shown.

    Args:
        href: its address, None where it has none.
        fields: every field that may be shown or included.
        representations: names of the fields that each shows.
        permissions: names of `@permissions`: whether it needs the right to create builds, None where nobody has it.
    """

    type: str
    href: Callable[[Any], str | None]
    fields: Mapping[str, Callable[[Any], Any]]
    representations: Mapping[str, Sequence[str]]
    permissions: Mapping[str, bool | None]


def vcs_type(vcs: str, what: str) -> str:
    """`GithubRepository`, `GitlabUser`, ..."""
    return f"{VCS_NAMES[vcs]}{what}"


def shape(
    type_: str,
    href: Callable[[Any], str | None],
    representations: Mapping[str, str],
    permissions: str = "",
    constants: Mapping[str, Any] | None = None,
    **getters: Callable[[Any], Any],
) -> Shape:
    """A shape.

    Args:
        representations: names of fields, separated by spaces.
        permissions: likewise; `name!` needs the right to create builds, `name-` nobody has.
        constants: fields that are the same for every row.
        getters: fields that are computed; the others are the row's own attributes.
    """
    shown = {name: fields.split() for name, fields in representations.items()}
    names = dict.fromkeys(name for fields in shown.values() for name in fields) | dict.fromkeys(getters)
    fixed = {name: _constant(value) for name, value in (constants or {}).items()}
    fields = {name: getters.get(name) or fixed.get(name) or attrgetter(name) for name in names}
    rights = {name.rstrip("!-"): None if name[-1] == "-" else name[-1] == "!" for name in permissions.split()}
    return Shape(type_, href, fields, shown, rights)


def _constant(value: Any) -> Callable[[Any], Any]:
    return lambda row: value


def _config(request: Request) -> Any:
    config = request.wanted.get("config")
    if isinstance(config, str):
        try:
            return json.loads(config)
        except ValueError:
            return {}
    return config or {}


def _raw_configs(request: Request) -> list[Object]:
    if request.commit is None or "config" not in request.wanted:
        return []
    return [{"config": json.dumps(_config(request)), "source": "api", "merge_mode": request.wanted.get("merge_mode")}]


def _vcs_id(row: Any) -> int:
    return int(row.id) + VCS_OFFSET


def _allowance(row: Any) -> Object:
    return {"@type": "allowance", "@representation": "minimal", "id": row.id}


def _people(row: Any) -> Object:
    return {"name": "Sandbox", "avatar_url": "https://sandbox.invalid/avatar"}


BUILD = (
    "id number state duration event_type previous_state pull_request_title pull_request_number started_at finished_at "
    "private priority"
)
BUILD_STANDARD = f"{BUILD} repository branch tag commit jobs stages created_by updated_at"
COMMIT = "id sha ref message compare_url committed_at"
REQUEST = "id state result message pull_request_mergeable"
OWNED = dict.fromkeys(["education", "allow_migration", "ro_mode", "trial_allowed"], False)

SHAPES: dict[type, Shape] = {
    Repo: shape(
        "repository",
        lambda row: f"/repo/{row.id}",
        {
            "minimal": "id name slug",
            "standard": (
                "id name slug description github_id vcs_id vcs_type github_language active private owner owner_name "
                "vcs_name default_branch starred managed_by_installation active_on_org migration_status "
                "history_migration_status shared config_validation server_type scan_failed_at build_count"
            ),
            "list": "id name slug active private owner vcs_id vcs_type server_type",
        },
        "read delete_key_pair create_request! check_scan_results settings_update settings_read build_restart! "
        "build_create! build_cancel! build_debug! log_view log_delete cache_delete cache_view admin! settings_delete "
        "settings_create activate! deactivate! migrate- star unstar create_cron create_env_var create_key_pair",
        {
            **dict.fromkeys(["description", "github_language", "active_on_org", "migration_status", "scan_failed_at"]),
            **dict.fromkeys(("history_migration_status", "current_build")),
            **dict.fromkeys(("starred", "shared"), False),
            **dict.fromkeys(("managed_by_installation", "config_validation"), True),
            "server_type": "git",
        },
        github_id=_vcs_id,
        vcs_id=lambda row: str(_vcs_id(row)),
        vcs_type=lambda row: vcs_type(row.vcs, "Repository"),
        owner_name=lambda row: row.owner.login,
        vcs_name=lambda row: row.name,
        default_branch=lambda row: row.branches[row.default_branch],
        build_count=lambda row: len(row.builds),
        current_build=lambda row: None,
        last_started_build=lambda row: next((build for build in reversed(row.builds) if build.started_at), None),
    ),
    Owner: shape(
        "organization",
        lambda row: f"/org/{row.id}",
        {
            "minimal": "id login name vcs_type ro_mode",
            "standard": f"id login name github_id vcs_id vcs_type {OWN_FIELDS}",
            "owner": "id login ro_mode",  # as a repository shows its own
        },
        "read sync settings_delete- settings_create- plan_invoices- plan_usage- plan_view- plan_create- "
        "billing_update- admin billing_view",
        {**OWNED, "avatar_url": None, "custom_keys": [], "account_env_vars": []},
        name=lambda row: row.login.capitalize(),
        vcs_type=lambda row: vcs_type(row.vcs, "Organization"),
        github_id=_vcs_id,
        vcs_id=lambda row: str(_vcs_id(row)),
        allowance=_allowance,
    ),
    User: shape(
        "user",
        lambda row: f"/user/{row.id}",
        {
            "minimal": "id login",
            "standard": (
                f"id login name github_id vcs_id vcs_type {OWN_FIELDS} email is_syncing synced_at recently_signed_up "
                "secure_user_hash confirmed_at internal last_activity_at memberships"
            ),
        },
        "read sync",
        {
            **OWNED,
            **dict.fromkeys(["education", "is_syncing", "synced_at", "secure_user_hash"]),
            **dict.fromkeys(["recently_signed_up", "internal"], False),
            "vcs_type": "GithubUser",
            "avatar_url": "https://sandbox.invalid/avatar",
            "custom_keys": [],
            "account_env_vars": [],
            "memberships": [],
            "confirmed_at": moment(JOINED),
            "last_activity_at": moment(JOINED),
        },
        name=lambda row: row.login.capitalize(),
        email=lambda row: f"{row.login}@sandbox.invalid",
        github_id=_vcs_id,
        vcs_id=lambda row: str(_vcs_id(row)),
        allowance=_allowance,
    ),
    Branch: shape(
        "branch",
        lambda row: f"/repo/{row.repo.id}/branch/{row.name}",
        {"minimal": "name", "standard": "name repository default_branch exists_on_github last_build"},
        repository=lambda row: row.repo,
        default_branch=lambda row: row.name == row.repo.default_branch,
        exists_on_github=lambda row: True,
    ),
    Commit: shape(
        "commit",
        lambda row: None,
        {"minimal": COMMIT, "standard": f"{COMMIT} committer author"},
        ref=lambda row: f"refs/heads/{row.branch}",
        compare_url=lambda row: f"https://github.com/{row.repo.slug}/compare/{row.sha}",
        committed_at=lambda row: moment(row.committed_at),
        committer=_people,
        author=_people,
    ),
    Request: shape(
        "request",
        lambda row: f"/repo/{row.repo.id}/request/{row.id}",
        {
            "minimal": REQUEST,
            "standard": (
                f"{REQUEST} repository branch_name commit builds owner created_at event_type base_commit head_commit "
                "messages config raw_configs"
            ),
        },
        "",
        dict.fromkeys(["pull_request_mergeable", "base_commit", "head_commit", "yaml_config"])
        | {"event_type": "api", "messages": []},
        repository=lambda row: row.repo,
        branch_name=lambda row: None if row.commit is None else row.commit.branch,
        owner=lambda row: row.repo.owner,
        created_at=lambda row: moment(row.created_at),
        config=lambda row: {} if row.commit is None else _config(row),
        raw_configs=_raw_configs,
        yaml_config=lambda row: None,
    ),
    Build: shape(
        "build",
        lambda row: f"/build/{row.id}",
        {
            "minimal": BUILD,
            "list": f"{BUILD} branch tag commit request created_by",
            "standard": BUILD_STANDARD,
            "active": BUILD_STANDARD,
        },
        "read cancel! restart! prioritize-",
        dict.fromkeys(["pull_request_title", "pull_request_number", "tag"])
        | {"event_type": "api", "priority": False, "stages": []},
        previous_state=lambda row: row.previous,
        started_at=lambda row: moment(row.started_at),
        finished_at=lambda row: moment(row.finished_at),
        updated_at=lambda row: exact(row.updated_at),
        private=lambda row: row.repo.private,
        repository=lambda row: row.repo,
        branch=lambda row: row.repo.branches.get(row.commit.branch),
        created_by=lambda row: row.request.user,
        active_jobs=lambda row: [job for job in row.jobs if job.state in ACTIVE],
    ),
    Job: shape(
        "job",
        lambda row: f"/job/{row.id}",
        {
            "minimal": "id",
            "standard": (
                "id allow_failure number state started_at finished_at build queue repository commit owner stage "
                "created_at updated_at private restarted_at restarted_by vm_size"
            ),
        },
        "read delete_log! view_log debug! cancel! restart! prioritize-",
        dict.fromkeys(["stage", "restarted_by", "vm_size"]) | {"queue": "builds.linux"},
        started_at=lambda row: moment(row.started_at),
        finished_at=lambda row: moment(row.finished_at),
        created_at=lambda row: exact(row.created_at),
        updated_at=lambda row: exact(row.updated_at),
        restarted_at=lambda row: exact(row.restarted_at),
        repository=lambda row: row.build.repo,
        commit=lambda row: row.build.commit,
        owner=lambda row: row.build.repo.owner,
        private=lambda row: row.build.repo.private,
        config=lambda row: _config(row.build.request),
    ),
}
