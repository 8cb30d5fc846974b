"""What tests of the gateway share: no process that a test began outlives it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.gateway.delivering import Process


@pytest.fixture
async def all_processes_end() -> AsyncIterator[None]:
    """Asked for by the modules that start processes in their tests: one that fails does not make the next one fail."""
    yield
    await Process.end_all()
