"""The one assembly, for the product and for its tests. Each is built from what is built already."""

from plue_session.rules.reconcile import Trust
from plue_session.services.backend import Backend
from plue_session.services.sync.follow_ups import FollowUps
from plue_session.services.sync.histories import Histories
from plue_session.services.sync.inbox import Inbox
from plue_session.services.sync.jobs import Jobs
from plue_session.services.sync.link import Link
from plue_session.services.sync.mirror import Mirror
from plue_session.services.sync.numbers import Numbers
from plue_session.services.sync.reconcile import Sync
from plue_session.services.sync.session_listing import SessionListing
from plue_session.services.sync.session_locks import SessionLocks
from plue_session.services.sync.unnumbered import Unnumbered


class RemoteHalf:
    """What keeps the store in step with `server`. `tell(connected, reason)` is told when that goes away or comes
    back."""

    def __init__(self, server, writer, store, publisher, calls, settings, log, tell, clock, version):
        self._server, self._writer, self._store, self._calls = server, writer, store, calls
        self._settings, self._version = settings, version
        trust, interval = Trust(), settings.sync_interval_ms / 1000
        self.log, self.session_locks, self.jobs = log, SessionLocks(), Jobs()
        self.link = Link(server, store, publisher, self.jobs, trust, interval, log, tell, clock)
        numbers, unnumbered = Numbers(server), Unnumbered(self.jobs)
        self.mirror = Mirror(writer, store, publisher, self.jobs, numbers, unnumbered, version)
        inbox = Inbox(store, self.mirror, self.session_locks, self.jobs, numbers, unnumbered, log)
        histories = Histories(server, writer, store, self.mirror, inbox, numbers, self.jobs, log)
        listing = SessionListing(server, store, publisher, self.mirror, self.session_locks, histories, log)
        self.follow_ups = FollowUps(server, writer, store, self.mirror, self.session_locks, self.link, calls)
        works = {
            "history": histories.run,
            "wake": inbox.wake,
            "turn": self.follow_ups.clear_aborted,
            "title": self.follow_ups.settle_title,
            "unshare": self.follow_ups.withdraw_share,
            "take back": self.follow_ups.take_back,
        }
        self.sync = Sync(
            server,
            store,
            publisher,
            self.mirror,
            self.session_locks,
            listing,
            inbox,
            histories,
            self.link,
            trust,
            self.jobs,
            works,
            log,
        )

    def backend(self, sharing):
        """Return what the operations work with."""
        return Backend(
            self._store,
            self._writer,
            sharing,
            self._settings,
            self._version,
            self.log,
            self._server,
            link=self.link,
            sync=self.sync,
            mirror=self.mirror,
            session_locks=self.session_locks,
            jobs=self.jobs,
            follow_ups=self.follow_ups,
            calls=self._calls,
        )
