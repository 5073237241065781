"""Whole workloads are compiled here, as users compile them: other tests verify the stages."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADLET_VERIFY", "0")
