"""Which version of GitHub's API is spoken: the one that every server knows, and the newer one where that has ended.

In the older one a dispatch asks for the id of its run; in the newer one it is told it, and may not ask.
"""

from __future__ import annotations

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import NotTriggered
from orchestrator.core.frozen import replace
from orchestrator.providers.github.wire import ASKS, VERSION, message
from orchestrator.providers.kit.answers import mapping

NEWER = "2026-03-10"


def spoken(send: Send) -> Send:
    """A `Send` that goes on in the newer version once the server no longer takes the older one."""
    is_newer = False

    async def sent(call: Call) -> Answer:
        nonlocal is_newer
        answer = await send(_newer(call) if is_newer else call)
        if is_newer or answer.status not in (400, 410) or "api version" not in message(answer).lower():
            return answer
        is_newer = True
        if call.purpose == "trigger":
            raise NotTriggered(f"this server no longer takes version {VERSION} of the API; it is asked in {NEWER}")
        return await send(_newer(call))

    return sent


def _newer(call: Call) -> Call:
    said = {name: value for name, value in mapping(call.body).items() if name != ASKS}
    headers = {"X-GitHub-Api-Version": NEWER, **call.headers}
    return replace(call, headers=headers, body=said if ASKS in mapping(call.body) else call.body)
