"""examples/browser.c, as a user would drive it: on one store with another browser, and on an OpenCode server."""

import subprocess
import threading

import pytest

from tests import support
from tests.opencode.fixtures import soon


class Browser:
    """One that runs; `lines` is what it has said."""

    def __init__(self, program, arguments, env, cwd):
        self._process = subprocess.Popen(
            [program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
            env=env,
            cwd=cwd,
        )
        self.lines, self._said = [], threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            with self._said:
                self.lines.append(line.rstrip("\n"))
                self._said.notify_all()

    def do(self, line):
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def await_line(self, *parts, after=0):
        """Wait for a line that has all of these in it; return its place."""
        with self._said:
            assert self._said.wait_for(lambda: self._find(parts, after) is not None, 30), self.lines
            return self._find(parts, after)

    def _find(self, parts, after):
        places = range(after, len(self.lines))
        return next((place for place in places if all(part in self.lines[place] for part in parts)), None)

    def fails(self, what):
        self.await_line("! ", what)
        assert self._process.wait(20) not in (0, None)

    def end(self):
        if self._process.poll() is None:
            self.do("q")
            assert self._process.wait(20) == 0
        self._reader.join()
        self._process.stdin.close()
        self._process.stdout.close()


@pytest.fixture
def browse(plain, folder, tmp_path):
    program, running = plain.compile(support.ROOT / "examples" / "browser.c"), []

    def start(*arguments, **environ):
        running.append(Browser(program, arguments, support.environment(folder, **environ), tmp_path))
        return running[-1]

    yield start
    for browser in running:
        browser.end()


def drive(browser, change, title='A "title" with \\ and ü'):
    """Do all that it can; `change()` is what somebody else does."""
    browser.do(f"c {title}")
    browser.await_line("* session.created")
    browser.do("f ü")
    place = browser.await_line("  1  ", title)
    browser.do("r 1 Renamed ü")
    browser.await_line("* session.updated", "Renamed ü", after=place)
    change()
    place = browser.await_line("theirs ü", after=place)
    browser.do("l")
    browser.await_line("theirs ü", after=place + 1)
    browser.do("d 1")
    browser.await_line("* session.deleted", after=place)
    browser.do("d 9")
    browser.await_line("! there is no 9")


def test_two_browsers_on_one_store_show_each_others_changes(browse, tmp_path):
    first, second = browse(tmp_path / "data"), browse(tmp_path / "data")
    second.await_line("library.initialized")

    def change():
        second.do("l")
        second.await_line("  1  Renamed ü")
        second.do("r 1 theirs ü")

    drive(first, change)
    second.await_line("* session.deleted")


def test_a_browser_does_all_of_a_line_or_nothing(browse, tmp_path):
    browser, long = browse(tmp_path / "data"), "x" * 509 + "d 1"
    browser.do(f"c {long}")
    browser.await_line(f"  1  {long}")
    browser.do("c \udcff")
    place = browser.await_line("! ", "not valid UTF-8")
    browser.do("f \udcff")
    browser.await_line("! ", "not valid UTF-8", after=place + 1)
    browser.do("f")
    browser.await_line(f"  1  {long}", after=place)
    assert [line for line in browser.lines if "session." in line] == [
        line for line in browser.lines if "session.created" in line
    ]
    browse("\udcff").fails("not valid UTF-8")


def test_a_browser_shows_what_other_clients_of_a_server_do(browse, server, client, tmp_path):
    client.create("", soon(), directory=str(tmp_path), title="before ü")
    browser = browse(
        tmp_path / "data",
        server.place[0],
        OPENCODE_SERVER_USERNAME=server.username,
        OPENCODE_SERVER_PASSWORD=server.password,
    )

    browser.await_line("  1  before ü")
    browser.do("d 1")
    browser.await_line("* session.deleted")

    def change():
        (made,) = client.list(soon(), directory=str(tmp_path))
        client.update(made.id, soon(), directory=str(tmp_path), title="theirs ü")

    drive(browser, change)
    assert client.list(soon(), directory=str(tmp_path)) == []
