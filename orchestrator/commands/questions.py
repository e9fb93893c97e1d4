"""Asks a person, when there is one; elsewhere nothing waits for input."""

from __future__ import annotations

import click

from orchestrator.commands.flags import Flags
from orchestrator.commands.machine import Machine
from orchestrator.errors import NotStarted


def ask(question: str, flags: Flags, machine: Machine) -> None:
    """Goes on when the answer is yes, or when nobody can be asked.

    Raises:
        NotStarted: the answer is no.
    """
    if flags.yes or not machine.may_ask:
        return
    if not click.confirm(question, default=False, err=True):
        raise NotStarted("answered no; nothing was sent")
