"""Hosts that disturb the store under the library, or run where the system refuses something (c_tests/disturbed.c)."""

import copy
import os
import shutil

import pytest

from tests import support


@pytest.fixture(scope="module")
def disturbed(plain):
    return plain.compile(support.PROGRAMS / "disturbed.c", "-Wl,--export-dynamic")


def host(program, how, folder, *arguments):
    return support.run([program, how, *arguments], env=support.environment(folder, PATH=os.environ["PATH"]), silent=True, timeout=120)


# -- a lane's housekeeping ---------------------------------------------------------------------------------------------
def test_a_folder_that_can_no_longer_be_looked_at_ends_no_writer(disturbed, tmp_path):
    (tmp_path / "above").mkdir(mode=0o700)
    (tmp_path / "above" / "store").mkdir(mode=0o700)
    host(disturbed, "shut-out", tmp_path / "above" / "store", tmp_path / "above")


def test_no_defect_in_what_is_done_beside_a_change_ends_a_lane(plain, tmp_path, folder):
    faulty = copy.copy(plain)
    faulty.root = tmp_path / "faulty"
    shutil.copytree(plain.root / "plue_session", faulty.root / "plue_session")
    runtime = faulty.root / "plue_session" / "runtime.py"
    runtime.write_text(runtime.read_text() + (support.PROGRAMS / "defects.py").read_text())
    faulty.package = faulty.root / "plue_session"
    faulty.lib, faulty.include = faulty.package / "lib", faulty.package / "include"
    host(faulty.compile(support.PROGRAMS / "disturbed.c", "-Wl,--export-dynamic"), "at-work", folder)


@pytest.mark.parametrize("store", ["sqlite", "memory"])
def test_a_clock_beyond_2262_ends_no_writer(disturbed, folder, store):
    host(disturbed, "far-future", folder, f',"store":"{store}","log":{{"level":"debug","file":"{folder}/log"}}')
