"""Answers that are asked for again: only whole where something changed, where the service gives an ETag."""

from __future__ import annotations

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.frozen import replace
from orchestrator.providers.kit.answers import read

MOST = 20_000  # answers that are kept
LONGEST = 200  # characters of a tag


class Known:
    """The last answers by path, for one token and without regard to the query."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._answers: dict[str, tuple[str, Answer]] = {}

    async def read(self, call: Call, *, fresh: bool = False) -> Answer:
        """The answer; unless it must be fresh, the one that is known where it is still the same.

        Raises:
            LookFailed: no answer came.
        """
        etag, known = (None, None) if fresh else self._answers.get(call.path, (None, None))
        answer = await read(self._send, replace(call, etag=etag))
        if answer.status == 304 and known is not None:
            return replace(known, headers=answer.headers)
        tag = answer.headers.get("etag", "")
        if answer.status == 200 and 0 < len(tag) <= LONGEST and tag.isprintable():
            if len(self._answers) >= MOST:
                self._answers.clear()
            self._answers[call.path] = tag, answer
        return answer

    def forget(self, path: str) -> None:
        """It is not asked for again."""
        self._answers.pop(path, None)
