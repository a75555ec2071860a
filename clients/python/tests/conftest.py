"""What several tests need."""

from __future__ import annotations

import pytest

from meterline.testing import FakeMeterline


@pytest.fixture
def fake() -> FakeMeterline:
    return FakeMeterline()
