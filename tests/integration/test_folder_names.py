"""Data folders whose names are no text."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.peers import Peer


@pytest.mark.requirement("P-097")
def test_folder_whose_name_is_not_utf8_holds_a_store_like_any_other(plain, tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xff?#%41 \xed\xa0\x80"))
    with Peer(plain, data_dir=folder) as one, Peer(plain, data_dir=folder) as other:
        one.init(None)  # what is no UTF-8 cannot stand in JSON
        other.init(None)
        about = json.loads(one.get_app_info())  # a peer decodes strictly whatever it gets
        assert about["paths"]["dataDir"].startswith(f"{tmp_path}/caf") and about["paths"]["dataDir"].isprintable()
        session = one.session_create(None)
        theirs = other.session_open(one.session_get_id(session))
        other.subscribe()
        one.session_update_title(session, "caf\u00e9")
        until = time.monotonic() + 10
        while other.info(theirs)["title"] != "caf\u00e9":
            assert time.monotonic() < until, "it never came"
            time.sleep(0.001)
        share = json.loads(one.session_create_share(session))
        other.session_validate_share(one.session_get_id(session), share["secret"])
        one.shutdown()
        one.init(None)
        assert one.list()[0]["title"] == "caf\u00e9"
    assert {"sessions.db", "sessions.lock", "share.key"} <= {file.name for file in folder.iterdir()}
    assert [file.name for file in tmp_path.iterdir()] == [folder.name]
    with Peer(plain, data_dir=folder / "share.key") as one:
        error = one.start("init", None).failure()
        assert error.code == "IO" and "caf" in error.message
