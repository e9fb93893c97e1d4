"""The table of providers, as docs/providers.md shows it, from the declarations; `python -m orchestrator.testing.table`.

It has every type of this package, then those of installed packages.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import Unreachable
from orchestrator.core.model import Account
from orchestrator.providers import port, registry
from orchestrator.providers.port import Declaration

HEAD = (
    "| type | service | a lost trigger is found | it also can | token | its own keys of a target |\n"
    "|---|---|---|---|---|---|\n"
)


def abilities() -> list[str]:
    """The methods that a provider may have, in the port's order."""
    found = [one for one in vars(port).values() if getattr(one, "_is_runtime_protocol", False)]
    return [name for one in found for name in vars(one) if not name.startswith("_")]


def row(declared: Declaration) -> str:
    """What one provider is, and can do."""
    account = Account(declared.type, declared.type, declared.url, token="env:TOKEN")  # noqa: S106  # a reference
    made = registry.load(declared.factory)(account, _nowhere, lambda reference: "")
    can = " ".join(f"`{name}`" for name in abilities() if hasattr(made, name))
    keys = " ".join(f"`{key}`" for key in declared.keys)
    token = f"`{declared.token_env}`" if declared.token_env else "none"
    return f"| `{declared.type}` | {declared.title} | {declared.finds} | {can} | {token} | {keys} |\n"


async def _nowhere(call: Call) -> Answer:
    raise Unreachable("nothing is sent")


def table(declarations: Iterable[Declaration]) -> str:
    """The table, with its head."""
    return HEAD + "".join(map(row, declarations))


if __name__ == "__main__":
    sys.stdout.write(table(registry.installed().values()))
