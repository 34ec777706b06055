"""Threads of two processes against each other: what they saw is judged by real time."""

import contextlib
import itertools
import json
import os
import random
import threading
import time

import pytest

from tests.peers import Peer

MORE = 20 if os.environ.get("PLUE_TORTURE") == "1" else 1


@pytest.mark.requirement("P-013", "P-075", "P-143")
def test_what_threads_and_processes_see_is_explained_by_real_time(plain, folder):
    """A title is a register: a read returns a title that was being written or was the newest when it began."""
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(plain, folder)) for _ in range(2)]
        ids = [peers[0].session_get_id(peers[0].session_create(None)) for _ in range(3)]
        handles = [[peer.session_open(session_id) for session_id in ids] for peer in peers]
        writes, reads, lock, numbers = [], [], threading.Lock(), itertools.count()

        def work(which, seed):
            dice, peer = random.Random(seed), peers[which]
            for _ in range(60 * MORE):
                place = dice.randrange(3)
                begun = time.monotonic()
                choice = dice.randrange(4)
                if choice < 2:
                    title = str(next(numbers))
                    peer.start("session_update_title", handles[which][place], title).result()
                    with lock:
                        writes.append((place, begun, time.monotonic(), title, which))
                elif choice == 2:  # the snapshot: fresh for what this process wrote
                    title = json.loads(peer.start("session_get_info", handles[which][place]).result())["title"]
                    with lock:
                        reads.append((place, begun, time.monotonic(), title, which))
                else:  # the store: fresh for everybody
                    infos = json.loads(peer.start("session_list").result())
                    with lock:
                        reads.extend(
                            (ids.index(info["id"]), begun, time.monotonic(), info["title"], None) for info in infos
                        )

        threads = [threading.Thread(target=work, args=(number % 2, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for place, session_id in enumerate(ids):
            own = [write for write in writes if write[0] == place]
            final = next(info["title"] for info in peers[0].list() if info["id"] == session_id)
            _, _, ended, _, _ = next(write for write in own if write[3] == final)
            assert not [write for write in own if write[1] > ended], "a later write was lost"
        when = {title: (begun, ended) for _, begun, ended, title, _ in writes}
        for place, begun, ended, title, which in reads:
            if title == "Untitled":
                wrote = (0, 0)
            else:
                assert title in when, f"nobody wrote {title!r}"
                wrote = when[title]
            assert wrote[0] <= ended, "read before it was written"
            newer = [
                write
                for write in writes
                if write[0] == place and write[1] > wrote[1] and write[2] < begun and which in (None, write[4])
            ]
            assert not newer, f"{title!r} was shown after {newer[0]} had been acknowledged"
        assert len(writes) > 100 and len(reads) > 100
