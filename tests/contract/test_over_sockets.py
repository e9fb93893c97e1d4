"""Every provider of this package keeps the contract over real sockets, too, with the transport in between."""

import pytest
from test_providers import SERVICES

from orchestrator.core.frozen import replace
from orchestrator.core.secrets import Secret
from orchestrator.lookalike.kit.server import serve
from orchestrator.providers import registry
from orchestrator.providers.kit.transport import transport
from orchestrator.testing.contract import LookAlikeService, ProviderContract

OURS = [name for name in SERVICES if issubclass(SERVICES[name], LookAlikeService)]


def test_every_provider_of_the_package_is_played_over_sockets():
    assert set(OURS) >= registry.PROVIDERS.keys()


@pytest.mark.slow
class TestOverSockets(ProviderContract):
    @pytest.fixture(params=OURS)
    async def service(self, request, anyio_backend):
        made = SERVICES[request.param]()
        async with serve(made.look_alike, now=made.now) as served:
            made.account = replace(made.account, url=served.url.removesuffix(made.look_alike.settings.prefix))
            headers = registry.load(made.declaration.headers)(made.account, served.token)
            reached = replace(made.account, url=served.url)
            async with transport(reached, headers, hide=(Secret(served.token),)) as made._send:
                yield made
