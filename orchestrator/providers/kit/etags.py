"""Objects that are read again and again: they come whole only where something changed, by the service's ETags."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.frozen import replace
from orchestrator.providers.kit.answers import mapping, read

MOST = 20_000  # answers that are kept
LONGEST = 200  # characters of a tag


class Known:
    """The last answers by path, for one token and without regard to the query.

    Of an object only its plain values are kept: bodies are long and many.
    """

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
            kept = {key: it for key, it in mapping(answer.body).items() if not isinstance(it, list | Mapping)}
            self._answers[call.path] = tag, Answer(200, kept)
        return answer

    def forget(self, path: str) -> None:
        """It is not asked for again."""
        self._answers.pop(path, None)
