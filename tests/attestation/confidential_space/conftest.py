"""Puts a fake Google in the place of the real one, for tests that must sign."""

import pytest

from support.space_tokens import FakeGoogle, fake_google
from vesica_attestation.confidential_space import authentic


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> FakeGoogle:
    """The verifier trusts this chain's root, and no other, while the test runs."""
    fake = fake_google()
    monkeypatch.setattr(authentic, "ROOT", fake.root.certificate)
    return fake
