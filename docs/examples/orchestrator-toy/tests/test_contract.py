import pytest

from orchestrator.core.calls import Answer
from orchestrator.core.errors import Rejected
from orchestrator.core.model import Account
from orchestrator.testing.contract import LookAlikeService, ProviderContract
from orchestrator_toy.declaration import DECLARATION
from orchestrator_toy.lookalike import ToyLookAlike, ToySettings

REPOS = tuple(f"acme/svc-{n:03}" for n in range(20))


class ToyService(LookAlikeService):
    declaration = DECLARATION
    account = Account("toy", "toy", "https://toy.invalid")
    step = 1.0
    refusals = ((Answer(409, {"message": "the repository is asleep"}), Rejected, ""),)


class TestToy(ProviderContract):
    @pytest.fixture
    def service(self):
        return ToyService(ToyLookAlike(ToySettings(repos=REPOS)), REPOS)
