"""A CI service that wants a repository's number with each trigger, and its provider."""

from collections import Counter
from urllib.parse import quote

from fake_service import FakeProvider, FakeService, refused

from orchestrator.core.calls import Answer, Call
from orchestrator.core.frozen import replace
from orchestrator.providers.kit.answers import mapping, number, read, read_failed


class PreparingProvider(FakeProvider):
    async def prepare(self, target):
        answer = await read(self._send, Call("GET", f"/repo/{quote(target.repo, safe='')}", repo=target.repo))
        found = number(mapping(answer.body).get("number"))
        if answer.status != 200 or found is None:
            raise refused(answer, target.repo) or read_failed(answer, "/repo", "Fake")
        return {"number": found}

    def _call(self, trigger):
        return replace(super()._call(trigger), query=(("number", str(trigger.prepared["number"])),))


class NumberedService(FakeService):
    """Keeps what it was asked for, and with which number it was triggered.

    Args:
        instead: by repository, what is answered to the first questions for its number.
    """

    def __init__(self, scripts=(), latency=0.1, instead=()):
        super().__init__(dict(scripts), latency=latency, provider=PreparingProvider)
        self.instead = {repo: list(answers) for repo, answers in dict(instead).items()}
        self.asked, self.numbers = Counter(), {}

    async def send(self, call):
        if call.purpose == "trigger":
            self.numbers[call.repo] = dict(call.query)["number"]
        if not call.path.startswith("/repo/"):
            return await super().send(call)
        self.asked[call.repo] += 1
        if self.instead.get(call.repo):
            answer = self.instead[call.repo].pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return Answer(200, {"number": 1 + len(call.path)})
