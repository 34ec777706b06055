"""The cancellation of a call that has no deadline of its own."""

from plue_session.call import Call as Cancel

__all__ = ["Cancel"]
