"""In which order the C side is told."""

from types import SimpleNamespace

import pytest

from plue_session.capi.publish import Publisher


@pytest.mark.requirement("P-177", "T-02")
def test_a_session_is_gone_by_its_first_id_before_its_observers_follow_it_to_the_other():
    """They read its end from the log at once, and whoever hears of that asks the handle."""
    told = []
    lib = SimpleNamespace(
        core__session_gone=lambda name: told.append(("gone", name)),
        core__session_rename=lambda before, now: told.append(("rename", before, now)),
    )
    Publisher(None, lib, 1).gone("ses_1", "session_1")
    assert told == [("gone", b"session_1"), ("rename", b"session_1", b"ses_1"), ("gone", b"ses_1")]
