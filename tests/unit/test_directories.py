"""One directory, one name."""

import os

import pytest

from plue_session.errors import InvalidParam
from plue_session.rules import directories


@pytest.mark.requirement("T-08")
def test_all_ways_to_write_a_directory_give_one_name(tmp_path):
    real = tmp_path / "real"
    (real / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    expected = os.path.realpath(real)
    for way in (
        real,
        f"{real}/",
        f"{real}/.",
        f"{real}/inner/..",
        f"{tmp_path}//real",
        tmp_path / "link",
        f"{tmp_path}/link/inner/../",
    ):
        assert directories.canonical(str(way)) == expected


def test_what_is_no_existing_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, cause in (
        (".", "absolute"),
        ("", "absolute"),
        (f"{tmp_path}/none", "No such"),
        (f"{tmp_path}/file", "Not a directory"),
        (f"{tmp_path}/loop", "symbolic link"),
        ("/a\0b", "NUL"),
    ):
        with pytest.raises(InvalidParam, match=cause):
            directories.canonical(path)


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    odd = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(odd)
    os.symlink(odd, tmp_path / "link")
    with pytest.raises(InvalidParam, match="backend.directory is not a path in UTF-8"):
        directories.canonical(f"{tmp_path}/link", "backend.directory")
