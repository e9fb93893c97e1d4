"""Asks a person, when there is one; elsewhere nothing waits for input."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import click

from orchestrator.app.machine import Machine
from orchestrator.cli.flags import Flags
from orchestrator.core.errors import NotStarted
from orchestrator.core.model import Plan
from orchestrator.core.secrets import shown
from orchestrator.providers import registry


def ask(question: str, flags: Flags, machine: Machine) -> None:
    """Goes on when the answer is yes, or when nobody can be asked.

    Raises:
        NotStarted: the answer is no.
    """
    if flags.yes or not machine.may_ask:
        return
    if not click.confirm(question, default=False, err=True):
        raise NotStarted("answered no; nothing was sent")


def token_commands(plan: Plan) -> list[str]:
    """The programs that the manifest runs to get tokens; of each only its name, as its words may hold secrets."""
    tokens = (account.token for account in plan.accounts.values())
    return sorted({shown(token) for token in tokens if token is not None and token.startswith("command:")})


def foreign_hosts(plan: Plan) -> list[tuple[str, str]]:
    """Accounts, with the host, whose token goes elsewhere than to the provider's own hosts or this machine."""
    found = []
    for name, account in plan.accounts.items():
        host = urlsplit(account.url).hostname or account.url
        if host not in registry.declaration(account.type).hosts and not _is_here(host):
            found.append((name, host))
    return found


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
