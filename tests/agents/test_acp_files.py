"""Files are served as the host has decided, within the worktree."""

import pytest


@pytest.mark.parametrize(
    "files, read, written", [("none", "-32601", None), ("read", "old", None), ("write", "old", "new")]
)
def test_files_are_served_as_far_as_the_host_allows(agents, files, read, written):
    agent = agents(files=files)
    agent.begin()
    (agent.worktree / "a.txt").write_text("old")
    agent.turn(f"[read={agent.worktree}/a.txt]")
    assert agent.heard.text() == read
    agent.turn(f"[write={agent.worktree}/b.txt:new]")
    assert agent.heard.text() == read + ("fine" if written else "-32601")
    assert (agent.worktree / "b.txt").exists() == bool(written)
    told = agent.said("in", "initialize")[0]["params"]["clientCapabilities"]
    assert told == {
        "fs": {"readTextFile": files != "none", "writeTextFile": files == "write"},
        "terminal": False,
    }


def test_nothing_outside_of_the_worktree_is_served(agents):
    agent = agents(files="write")
    agent.begin()
    secret = agent.worktree.parent / "secret"
    secret.write_text("secret")
    (agent.worktree / "way").symlink_to(secret)
    for path in (secret, agent.worktree / "way", agent.worktree / ".." / "secret"):
        agent.turn(f"[read={path}][write={path}:mine]")
    assert agent.heard.text() == "-32602" * 6 and secret.read_text() == "secret"


def test_lines_are_served_and_what_is_not_there_is_told(agents):
    agent = agents(files="read")
    agent.begin()
    (agent.worktree / "a.txt").write_text("one\ntwo\nthree\n")
    agent.turn(f"[read={agent.worktree}/a.txt:2:1][read={agent.worktree}/none]")
    assert agent.heard.text() == "two\n-32002"


def test_a_worktree_that_becomes_a_link_leads_nowhere(agents):
    agent = agents(files="write")
    agent.begin()
    secret = agent.worktree.parent / "secret"
    secret.write_text("secret")
    agent.worktree.rename(agent.worktree.parent / "moved")
    agent.worktree.symlink_to(agent.worktree.parent)
    agent.turn(f"[read={agent.worktree}/secret][write={agent.worktree}/secret:mine]")
    assert agent.heard.text() == "-32602" * 2 and secret.read_text() == "secret"
