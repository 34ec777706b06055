"""What an agent says, made changes of a transcript."""

from types import SimpleNamespace

from plue_session.model.said import Metered, Said
from plue_session.services.agents.recording import MOST_TOLD, Recording


def test_an_end_that_is_tried_again_keeps_what_the_turn_has_cost():
    """The store may be locked when a turn ends that was cancelled: its message ends with the next try."""
    recording = Recording(SimpleNamespace(writer=SimpleNamespace(clock=lambda: 1000)), "session_1")
    recording.name = "it"
    recording.begin("turn_1", "msg_1", 1000)
    recording.say(Said("text", "word", None))
    recording.metered(Metered(1, 2, 0.5))
    for _ in range(2):
        changes = recording.end(False, (1, 2, 0, 0, 0))
        assert recording.told_cost == 0.0
        assert [each.value.cost for each in changes if each.kind == "message"][-1] == 0.5
    recording.over()
    assert recording.told_cost == recording.counted == 0.5


def test_plans_count_and_too_many_are_left_out():
    recording = Recording(SimpleNamespace(writer=SimpleNamespace(clock=lambda: 1000)), "session_1")
    recording.begin("turn_1", "msg_1", 1000)
    assert recording.takes(MOST_TOLD) and not recording.is_too_much
    assert recording.takes(1) and recording.is_too_much and not recording.is_cut
    assert not recording.takes(1) and recording.is_cut
    recording.over()
    assert recording.takes(1) and not recording.is_cut
