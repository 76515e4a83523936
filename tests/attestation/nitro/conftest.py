"""Puts a fake AWS in the place of the real one, for tests that must sign."""

import pytest

from support.nitro_documents import FakeAws, fake_aws
from vesica_attestation.nitro import authentic


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    """The verifier trusts this chain's root, and no other, while the test runs."""
    fake = fake_aws()
    monkeypatch.setattr(authentic, "ROOT", fake.root.certificate)
    return fake
