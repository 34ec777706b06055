"""What a spawned command says of where it listens is judged before anybody goes there, and no defect is a print."""

import threading
import time

import pytest

from plue_session import errors
from tests.opencode.fixtures import soon
from tests.opencode.test_process import LISTENS, alive, fake


@pytest.mark.requirement("X-013")
@pytest.mark.parametrize(
    "url, said",
    [
        ("http://", None),
        ("http://[::", None),
        ("http://:4096", None),
        ("http://a b:1", None),
        ("http://127.0.0.1:99999", None),
        (r"http://\377:1", r"http://\xff:1"),
    ],
)
def test_a_server_that_says_that_it_listens_nowhere_is_refused_and_ended(guard, tmp_path, url, said):
    owned = fake(f"echo $$ > pid; printf 'opencode server listening on {url}\\n'; exec sleep 60", guard, tmp_path)
    with pytest.raises(errors.Server, match="no URL of a server") as caught:
        owned.start(soon())
    assert caught.value.details["stdout"] == (said or url) and not alive(int((tmp_path / "pid").read_text()))
    owned.stop()


@pytest.mark.requirement("O-003")
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "https://[::1]:65535", "http://a-b.example", "http://host:80/oc"]
)
def test_where_a_server_may_listen(guard, tmp_path, url):
    owned = fake(f"echo 'opencode server listening on {url}'; exec sleep 60", guard, tmp_path)
    assert owned.start(soon()) == url
    owned.stop()


@pytest.mark.requirement("X-013")
def test_a_defect_of_who_is_told_is_no_print(guard, tmp_path, capfd):
    def broken(url):
        raise AttributeError(url)

    owned = fake(LISTENS + "exec sleep 60", guard, tmp_path, on_change=broken, back_off=(0.02, 0.1))
    owned.start(soon())
    until = time.monotonic() + 10
    while owned.starts < 2:
        assert time.monotonic() < until
        threading.Event().wait(0.02)
    owned.stop()
    assert capfd.readouterr().err == ""
