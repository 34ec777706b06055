"""Files that an agent has us read and write: nothing outside of its worktree."""

import os

import pytest

from plue_session.adapters.acp import files
from plue_session.adapters.acp.files import Files
from plue_session.adapters.acp.rpc import BAD_PARAMS, INTERNAL, NOT_FOUND, Refused


@pytest.fixture
def place(tmp_path):
    """A worktree with a file in it, beside a folder with a secret."""
    worktree, outside = tmp_path / "worktree", tmp_path / "outside"
    worktree.mkdir()
    outside.mkdir()
    (worktree / "a.txt").write_text("one\ntwo\u2028still two\nthree")
    (outside / "secret").write_text("secret")
    return worktree


def code(call):
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.code


def test_lines_are_counted_as_agents_count_them(place):
    path, served = str(place / "a.txt"), Files(str(place))
    assert served.read(path) == "one\ntwo\u2028still two\nthree"
    assert served.read(path, 2) == "two\u2028still two\nthree"
    assert served.read(path, 2, 1) == "two\u2028still two\n"
    assert served.read(path, limit=1) == "one\n" and served.read(path, 9) == "" and served.read(path, 0, 0) == ""


@pytest.mark.parametrize("line, limit", [("1", None), (-1, None), (None, 1.5), (True, None)])
def test_odd_lines_are_refused(place, line, limit):
    assert code(lambda: Files(str(place)).read(str(place / "a.txt"), line, limit)) == BAD_PARAMS


@pytest.mark.parametrize(
    "path",
    [
        "a.txt",
        "",
        None,
        5,
        "/etc/passwd",
        "{0}/../outside/secret",
        "{0}/out",
        "{0}/folder/secret",
        "{0}",
        "{0}/pipe",
        "{0}/\0",
    ],
)
def test_nothing_else_is_read_or_written(place, path):
    (place / "out").symlink_to(place.parent / "outside" / "secret")
    (place / "folder").symlink_to(place.parent / "outside")
    os.mkfifo(place / "pipe")
    path = path.format(place) if type(path) is str else path
    served = Files(str(place))
    assert code(lambda: served.read(path)) == BAD_PARAMS
    assert code(lambda: served.write(path, "mine")) == BAD_PARAMS
    assert (place.parent / "outside" / "secret").read_text() == "secret"


def test_a_new_file_is_not_made_outside(place):
    (place / "folder").symlink_to(place.parent / "outside")
    (place / "dangling").symlink_to(place.parent / "outside" / "new")
    served = Files(str(place))
    assert code(lambda: served.write(str(place / "folder" / "new"), "x")) == BAD_PARAMS
    assert code(lambda: served.write(f"{place}/../outside/new", "x")) == BAD_PARAMS
    assert code(lambda: served.write(str(place / "dangling"), "x")) == INTERNAL
    assert os.listdir(place.parent / "outside") == ["secret"]


def test_links_within_the_worktree_are_followed(place):
    (place / "link").symlink_to("a.txt")
    Files(str(place)).write(str(place / "link"), "new")
    assert (place / "a.txt").read_text() == "new" and (place / "link").is_symlink()


def test_a_worktree_may_itself_be_named_by_a_link(place):
    (place.parent / "way").symlink_to(place)
    served = Files(str(place.parent / "way"))
    served.write(str(place.parent / "way" / "b.txt"), "b")
    assert served.read(str(place / "b.txt")) == "b"


def test_files_are_written_whole_and_keep_their_mode(place):
    (place / "run.sh").write_text("a long text")
    (place / "run.sh").chmod(0o755)
    Files(str(place)).write(str(place / "run.sh"), "short")
    assert (place / "run.sh").read_text() == "short" and os.access(place / "run.sh", os.X_OK)


def test_what_is_not_there_is_told_apart(place):
    served = Files(str(place))
    assert code(lambda: served.read(str(place / "none"))) == NOT_FOUND
    assert code(lambda: served.write(str(place / "none" / "a"), "x")) == NOT_FOUND
    assert code(lambda: served.write(str(place / "a.txt" / "a"), "x")) == NOT_FOUND


def test_what_is_too_long_or_no_text_is_refused(place, monkeypatch):
    monkeypatch.setattr(files, "MOST", 10)
    (place / "b.txt").write_bytes(b"\xff")
    served = Files(str(place))
    assert code(lambda: served.read(str(place / "a.txt"))) == INTERNAL
    assert code(lambda: served.write(str(place / "b.txt"), "x" * 11)) == INTERNAL
    assert code(lambda: served.read(str(place / "b.txt"))) == INTERNAL
    assert code(lambda: served.write(str(place / "b.txt"), None)) == BAD_PARAMS
    assert (place / "b.txt").read_bytes() == b"\xff"
