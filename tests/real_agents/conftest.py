"""The four real agents, each alone with its fake model, its home and its worktree."""

import pytest

from tests.real_agents import real
from tests.real_agents.fake_models import FakeModels


@pytest.fixture(scope="session")
def models():
    with FakeModels() as server:
        yield server
        server.shutdown()


@pytest.fixture(scope="session")
def installed():
    real.install()


@pytest.fixture(params=real.KINDS)
def agent(request, tmp_path, models, installed):
    """One after the other, as nothing else has used it."""
    return real.KINDS[request.param](tmp_path, models)
