"""The configuration of `plue_init`: sources, defaults, refusals."""

import json
import os
import pwd

import pytest

from plue_session import config
from plue_session.errors import InvalidParam, JsonParse, PlueError, StoreIo

OPENCODE = {"kind": "opencode", "url": "http://127.0.0.1:4096"}


def load(given=None, environ=(), file=None, tmp_path=None):
    environ = dict(environ)
    if file is not None:
        path = tmp_path / "plue.json"
        path.write_text(file if isinstance(file, str) else json.dumps(file))
        environ["PLUE_SESSION_CONFIG"] = str(path)
    return config.load(None if given is None else json.dumps(given), environ)


def refuse(message, given, **sources):
    with pytest.raises(InvalidParam, match=message) as caught:
        load(given, **sources)
    assert caught.value.remedy
    return caught.value


def plain(settings):
    return {
        name: plain(value) if isinstance(value, config.Settings) else value for name, value in vars(settings).items()
    }


def test_the_defaults_are_those_of_the_contract():
    defaults = plain(load())
    del defaults["data_dir"], defaults["data_dir_rule"]
    assert defaults == {
        "store": "sqlite",
        "cache_ttl_ms": 5000,
        "sync_interval_ms": 30000,
        "request_timeout_ms": 30000,
        "offline": "queue",
        "default_model": None,
        "backend": {
            "kind": "embedded",
            "url": None,
            "directory": None,
            "username": None,
            "password": None,
            "spawn": None,
        },
        "retry": {"attempts": 3, "base_ms": 1000, "max_ms": 30000},
        "share": {"base_url": "http://localhost:4780", "ttl_ms": 86400000, "auto": False},
        "replay": {"limit": 2048, "age_ms": 120000},
        "lease": {"ttl_ms": 30000, "renew_ms": 10000},
        "artifacts": {"compress_above_bytes": 10240, "max_bytes": 104857600, "max_session_bytes": 10737418240},
        "limits": {"active_sessions": None},
        "sessions": {"timeout_ms": None, "retention_ms": None, "cleanup_ms": 3600000},
        "permissions": {"default": "ask", "deadline_ms": 600000},
        "hooks": {"strict": False, "timeout_ms": 5000},
        "log": {"level": "warning", "file": None},
    }


def test_every_key_of_the_contract_is_taken(tmp_path):
    given = {
        "dataDir": str(tmp_path),
        "store": "memory",
        "backend": {"kind": "embedded"},
        "cacheTtlMs": 0,
        "syncIntervalMs": 1,
        "requestTimeoutMs": 2,
        "offline": "fail",
        "defaultModel": {"providerId": "p", "modelId": "m"},
        "retry": {"attempts": 1, "baseMs": 0, "maxMs": 10},
        "share": {"baseUrl": "https://h/p//", "ttlMs": 5, "auto": True},
        "replay": {"limit": 1, "ageMs": 2},
        "lease": {"ttlMs": 9, "renewMs": 3},
        "artifacts": {"compressAboveBytes": 0, "maxBytes": 1, "maxSessionBytes": 2},
        "limits": {"activeSessions": 3},
        "sessions": {"timeoutMs": 1, "retentionMs": 2, "cleanupMs": 3},
        "permissions": {"default": "deny", "deadlineMs": 4},
        "hooks": {"strict": True, "timeoutMs": 5},
        "log": {"level": "debug", "file": str(tmp_path / "log")},
    }
    settings = plain(load(given))
    assert settings["default_model"] == {"provider_id": "p", "model_id": "m"} and settings["share"] == {
        "base_url": "https://h/p",
        "ttl_ms": 5,
        "auto": True,
    }
    assert settings["lease"] == {"ttl_ms": 9, "renew_ms": 3} and settings["log"]["file"] == str(tmp_path / "log")
    assert settings["data_dir"] == str(tmp_path) and settings["limits"] == {"active_sessions": 3}


def test_null_means_none_where_none_can_be_meant():
    given = {
        "share": {"ttlMs": None},
        "limits": {"activeSessions": None},
        "sessions": {"timeoutMs": None, "retentionMs": None},
        "defaultModel": None,
        "log": {"file": None},
    }
    settings = load(given)
    assert (
        settings.share.ttl_ms
        is settings.limits.active_sessions
        is settings.sessions.timeout_ms
        is settings.default_model
        is settings.log.file
        is None
    )


@pytest.mark.parametrize(
    "given,message",
    [
        ({"retry": {"attemps": 1}}, "unknown key retry.attemps"),
        ({"dataDirr": "x"}, "unknown key dataDirr in the configuration"),
        ({"backend": {"kind": "embedded", "host": 1}}, "unknown key backend.host"),
        ({"backend": {**OPENCODE, "spawn": {"cmd": 1}}}, "unknown key backend.spawn.cmd"),
        ({"defaultModel": {"provider": "p"}}, "unknown key defaultModel.provider"),
        ({"retry": None}, "retry must be an object, not null"),
        ({"share": []}, "share must be an object"),
        ({"dataDir": 1}, "dataDir must be a string"),
        ({"dataDir": ""}, "dataDir cannot be empty"),
        ({"dataDir": "/a\0b"}, "dataDir holds a NUL"),
        ({"store": "redis"}, "store is none that"),
        ({"store": "postgresql://"}, "store is none that"),
        ({"store": 1}, "store must be"),
        ({"store": "postgresql://h/d\0"}, "store holds a NUL"),
        ({"backend": "embedded"}, "backend must be an object"),
        ({"backend": {"kind": "remote"}}, "backend.kind cannot be"),
        ({"cacheTtlMs": -1}, "cacheTtlMs is out of range"),
        ({"cacheTtlMs": "5"}, "cacheTtlMs must be an integer, not a string"),
        ({"syncIntervalMs": 0}, "syncIntervalMs is out of range"),
        ({"requestTimeoutMs": True}, "requestTimeoutMs must be an integer, not a boolean"),
        ({"requestTimeoutMs": 1 << 31}, "requestTimeoutMs is out of range"),
        ({"offline": "maybe"}, "offline cannot be"),
        ({"defaultModel": {"providerId": "p"}}, "defaultModel.modelId is missing"),
        ({"defaultModel": {"modelId": "p"}}, "defaultModel.providerId is missing"),
        ({"defaultModel": {"providerId": ""}}, "defaultModel.providerId cannot be empty"),
        ({"share": {"baseUrl": "localhost"}}, "share.baseUrl is not a URL"),
        ({"share": {"baseUrl": "http://"}}, "share.baseUrl is not a URL"),
        ({"share": {"baseUrl": "http://h/?a"}}, "share.baseUrl has a query"),
        ({"share": {"baseUrl": "http://h/ x"}}, "share.baseUrl has a query"),
        ({"share": {"ttlMs": 0}}, "share.ttlMs is out of range"),
        ({"share": {"auto": 1}}, "share.auto must be a boolean"),
        ({"permissions": {"default": "yes"}}, "permissions.default cannot be"),
        ({"hooks": {"strict": "no"}}, "hooks.strict must be"),
        ({"log": {"level": "loud"}}, "log.level cannot be"),
        ({"log": {"file": ""}}, "log.file cannot be empty"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(given, message):
    refuse(message, given)


@pytest.mark.parametrize("text", ["", "{", "[" * 200])
def test_text_that_is_not_json_is_a_parse_error(text):
    with pytest.raises(JsonParse, match="the configuration"):
        config.load(text, {})


def test_a_configuration_is_an_object():
    with pytest.raises(InvalidParam, match="the configuration must be an object, not an array"):
        config.load("[]", {})


# -- lease -------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("L-127")
def test_a_lease_is_renewed_three_times_within_its_life():
    assert plain(load({"lease": {"ttlMs": 3000}}).lease) == {"ttl_ms": 3000, "renew_ms": 1000}
    assert plain(load({"lease": {"ttlMs": 5}}).lease) == {"ttl_ms": 5, "renew_ms": 1}
    assert plain(load({"lease": {"renewMs": 500}}).lease) == {"ttl_ms": 30000, "renew_ms": 500}
    for lease in ({"ttlMs": 3000, "renewMs": 1001}, {"renewMs": 10001}):
        refuse("lease.ttlMs is less than three times", {"lease": lease})
    for lease in ({"ttlMs": 0}, {"ttlMs": -1}):
        refuse("lease.ttlMs is out of range", {"lease": lease})
    for lease in ({"renewMs": 0}, {"renewMs": -5}):
        refuse("lease.renewMs is out of range", {"lease": lease})


# -- sources -----------------------------------------------------------------------------------------------------------
def test_the_argument_goes_before_the_file_and_the_file_before_the_variables(tmp_path):
    environ = {"PLUE_SESSION_DATA_DIR": "/env"}
    assert load(environ=environ).data_dir == "/env"
    assert load(file={"dataDir": "/file"}, environ=environ, tmp_path=tmp_path).data_dir == "/file"
    assert (
        load({"dataDir": "/argument"}, file={"dataDir": "/file"}, environ=environ, tmp_path=tmp_path).data_dir
        == "/argument"
    )


def test_objects_are_merged_key_by_key(tmp_path):
    settings = load(
        {"retry": {"attempts": 7}, "share": {"ttlMs": None}, "defaultModel": None},
        tmp_path=tmp_path,
        file={
            "retry": {"attempts": 5, "baseMs": 6},
            "share": {"ttlMs": 9, "auto": True},
            "cacheTtlMs": 1,
            "defaultModel": {"providerId": "p", "modelId": "m"},
        },
    )
    assert plain(settings.retry) == {"attempts": 7, "base_ms": 6, "max_ms": 30000}
    assert plain(settings.share) == {"base_url": "http://localhost:4780", "ttl_ms": None, "auto": True}
    assert settings.cache_ttl_ms == 1 and settings.default_model is None


def test_an_error_in_the_file_names_file_key_and_variable(tmp_path):
    error = refuse("unknown key retry.attemps", {}, file={"retry": {"attemps": 1}}, tmp_path=tmp_path)
    assert "plue.json (PLUE_SESSION_CONFIG)" in error.cause
    error = refuse("must be an object", {}, file="[]", tmp_path=tmp_path)
    assert error.cause.count("plue.json") == 1
    with pytest.raises(JsonParse, match="plue.json"):
        load(file="{", tmp_path=tmp_path)


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    assert load(file='\ufeff{"cacheTtlMs":1}', tmp_path=tmp_path).cache_ttl_ms == 1


def test_a_file_that_cannot_be_read_is_an_error_not_a_default(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(StoreIo, match="PLUE_SESSION_CONFIG"):
            load(environ={"PLUE_SESSION_CONFIG": str(path)})
    (tmp_path / "latin").write_bytes(b'{"dataDir":"/\xe9"}')
    refuse("is not UTF-8", None, environ={"PLUE_SESSION_CONFIG": str(tmp_path / "latin")})
    (tmp_path / "long").write_bytes(b" " * (config.MAX_FILE + 1))
    refuse("more than", None, environ={"PLUE_SESSION_CONFIG": str(tmp_path / "long")})
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(JsonParse):
        load(environ={"PLUE_SESSION_CONFIG": str(tmp_path / "fifo")})


def test_empty_variables_count_as_unset():
    names = (
        "PLUE_SESSION_CONFIG",
        "PLUE_SESSION_DATA_DIR",
        "PLUE_OPENCODE_URL",
        "OPENCODE_SERVER_USERNAME",
        "OPENCODE_SERVER_PASSWORD",
        "PLUE_SESSION_LOG",
        "XDG_DATA_HOME",
        "HOME",
    )
    assert plain(load(environ=dict.fromkeys(names, ""))) == plain(load())


# -- dataDir -----------------------------------------------------------------------------------------------------------
HOME = pwd.getpwuid(os.getuid()).pw_dir


@pytest.mark.parametrize(
    "environ, folder, rule",
    [
        ({"XDG_DATA_HOME": "/xdg", "HOME": "/home/me"}, "/xdg/plue_session", "XDG_DATA_HOME"),
        ({"XDG_DATA_HOME": "xdg", "HOME": "/home/me"}, "/home/me/.local/share/plue_session", "HOME"),
        ({"XDG_DATA_HOME": "/a/../b"}, "/b/plue_session", "XDG_DATA_HOME"),
        ({"XDG_DATA_HOME": "", "HOME": "/"}, "/.local/share/plue_session", "HOME"),
        ({"HOME": "home/me"}, f"{HOME}/.local/share/plue_session", "passwd"),
        ({}, f"{HOME}/.local/share/plue_session", "passwd"),
        ({"PLUE_SESSION_DATA_DIR": "/d", "XDG_DATA_HOME": "/xdg"}, "/d", "environment"),
    ],
)
def test_the_data_directory_is_that_of_the_first_rule_that_has_one(environ, folder, rule):
    settings = load(environ=environ)
    assert (settings.data_dir, settings.data_dir_rule) == (folder, rule)
    settings = load({"dataDir": "/c"}, environ=environ)
    assert (settings.data_dir, settings.data_dir_rule) == ("/c", "config")


def test_a_relative_data_directory_is_that_of_now(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load({"dataDir": "data/../d"}).data_dir == str(tmp_path / "d")
    assert load(environ={"PLUE_SESSION_DATA_DIR": "e"}).data_dir == str(tmp_path / "e")


def test_a_user_without_a_passwd_entry_needs_home_or_a_name(monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert "Set dataDir" in refuse("dataDir has no default: user .* has no HOME", None).remedy
    assert load({"dataDir": "/d"}).data_dir == "/d"
    assert load(environ={"HOME": "/h"}).data_dir == "/h/.local/share/plue_session"


# -- log ---------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("X-022")
def test_a_variable_chooses_the_log_below_the_configuration(tmp_path):
    environ = {"PLUE_SESSION_LOG": "debug:/tmp/a:b"}

    def log(given=None, **sources):
        return plain(load(given, environ=environ, **sources).log)

    assert log() == {"level": "debug", "file": "/tmp/a:b"}
    assert log({"log": {"level": "error"}}) == {"level": "error", "file": "/tmp/a:b"}
    assert log({"log": {"file": None}}) == {"level": "debug", "file": None}
    file = {"log": {"level": "info", "file": "/f"}}
    assert log(file=file, tmp_path=tmp_path) == {"level": "info", "file": "/f"}


@pytest.mark.parametrize("text", ["debug", "debug:", ":/tmp/log", "loud:/tmp/log", "/tmp/log"])
def test_a_log_variable_that_says_something_else_is_named(text):
    refuse("PLUE_SESSION_LOG", None, environ={"PLUE_SESSION_LOG": text})


# -- backend -----------------------------------------------------------------------------------------------------------
def test_a_server_is_attached_by_url(tmp_path):
    settings = load(
        {
            "backend": {
                **OPENCODE,
                "url": "http://h:1/",
                "directory": f"{tmp_path}/.",
                "username": "u",
                "password": "p:é",
            }
        }
    )
    assert plain(settings.backend) == {
        "kind": "opencode",
        "url": "http://h:1",
        "directory": os.path.realpath(tmp_path),
        "username": "u",
        "password": "p:é",
        "spawn": None,
    }


def test_a_server_is_spawned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spawn = load({"backend": {"kind": "opencode", "spawn": {}}}).backend.spawn
    assert plain(spawn) == {"command": ["opencode"], "env": {}, "directory": os.path.realpath(tmp_path)}
    spawn = load(
        {"backend": {"kind": "opencode", "spawn": {"command": ["a", ""], "env": {"K": "v"}, "directory": "/"}}}
    ).backend.spawn
    assert plain(spawn) == {"command": ["a", ""], "env": {"K": "v"}, "directory": "/"}


def test_a_working_directory_that_is_gone_matters_only_where_no_directory_is_named(monkeypatch):
    monkeypatch.setattr(os, "getcwd", lambda: open("/nowhere/at/all"))
    for backend in (OPENCODE, {"kind": "opencode", "spawn": {}}):
        with pytest.raises(InvalidParam, match="no directory is named, and the working directory cannot be used"):
            load({"backend": backend})
    assert load({"backend": {**OPENCODE, "directory": "/"}}).backend.directory == "/"
    assert load({"backend": {"kind": "opencode", "spawn": {"directory": "/"}}}).backend.spawn.directory == "/"


def test_the_variables_choose_a_server():
    environ = {"PLUE_OPENCODE_URL": "https://env/", "OPENCODE_SERVER_USERNAME": "eu", "OPENCODE_SERVER_PASSWORD": "ep"}
    chosen = load(environ=environ).backend
    assert (chosen.kind, chosen.url, chosen.username, chosen.password, chosen.directory) == (
        "opencode",
        "https://env",
        "eu",
        "ep",
        os.path.realpath(os.getcwd()),
    )
    assert load({"backend": {"kind": "embedded"}}, environ=environ).backend.kind == "embedded"
    mixed = load({"backend": {**OPENCODE, "username": "mine"}}, environ=environ).backend
    assert (mixed.url, mixed.username, mixed.password) == (OPENCODE["url"], "mine", "ep")
    spawned = load({"backend": {"kind": "opencode", "spawn": {}}}, environ=environ).backend
    assert spawned.url is None and spawned.password == "ep"


def test_the_argument_may_choose_another_place_than_the_file(tmp_path):
    attached, spawned = (
        {**OPENCODE, "username": "u", "password": "p"},
        {"kind": "opencode", "spawn": {"command": ["c"]}},
    )
    chosen = load({"backend": spawned}, file={"backend": attached}, tmp_path=tmp_path).backend
    assert chosen.spawn.command == ["c"] and chosen.url is None and chosen.password is None
    chosen = load({"backend": OPENCODE}, file={"backend": spawned}, tmp_path=tmp_path).backend
    assert chosen.spawn is None and chosen.url == OPENCODE["url"]
    assert load({"backend": {"kind": "embedded"}}, file={"backend": attached}, tmp_path=tmp_path).backend.url is None
    assert (
        load({"backend": {"kind": "embedded"}}, file={"backend": {"password": "p"}}, tmp_path=tmp_path).backend.password
        is None
    )
    assert load({"backend": {"username": "v"}}, file={"backend": attached}, tmp_path=tmp_path).backend.username == "v"


@pytest.mark.parametrize(
    "backend,message",
    [
        ({"url": "http://h"}, "backend.url is of no use to the embedded backend"),
        ({"kind": "opencode"}, "backend.url is missing"),
        ({**OPENCODE, "spawn": {}}, "backend.url and backend.spawn exclude each other"),
        ({"kind": "opencode", "spawn": {}, "password": "p"}, "backend.password and backend.spawn"),
        ({**OPENCODE, "url": "ftp://h"}, "backend.url is not a URL"),
        ({**OPENCODE, "url": 1}, "backend.url must be"),
        ({**OPENCODE, "url": "http://h:0"}, "backend.url has no host, or a port"),
        ({**OPENCODE, "url": "http://:80"}, "backend.url has no host"),
        *(
            ({**OPENCODE, "url": f"http://{host}"}, "backend.url names a host that none can have")
            for host in ("[::1", "[zz]:1", "a..b:1", "a" * 64, "\u00e9" * 64, ".x")
        ),
        ({**OPENCODE, "url": "http://h:99999"}, "backend.url has no host"),
        ({**OPENCODE, "directory": "relative"}, "backend.directory is not an absolute path"),
        ({**OPENCODE, "directory": "/no/such"}, "backend.directory /no/such cannot be used"),
        ({**OPENCODE, "directory": ""}, "backend.directory cannot be empty"),
        ({**OPENCODE, "username": 1}, "backend.username must be"),
        ({**OPENCODE, "password": "a\0"}, "backend.password holds a NUL"),
        ({"kind": "opencode", "spawn": 1}, "backend.spawn must be an object"),
        ({"kind": "opencode", "spawn": {"command": []}}, "backend.spawn.command must be"),
        ({"kind": "opencode", "spawn": {"command": "opencode"}}, "backend.spawn.command must be"),
        ({"kind": "opencode", "spawn": {"command": [""]}}, r"backend.spawn.command\[0\] cannot be empty"),
        ({"kind": "opencode", "spawn": {"command": ["a", 1]}}, r"backend.spawn.command\[1\] must be"),
        ({"kind": "opencode", "spawn": {"env": []}}, "backend.spawn.env must be"),
        ({"kind": "opencode", "spawn": {"env": {"A=B": ""}}}, "backend.spawn.env has a name"),
        ({"kind": "opencode", "spawn": {"env": {"K": 1}}}, "backend.spawn.env.K must be"),
        ({"kind": "opencode", "spawn": {"directory": "/no/such"}}, "backend.spawn.directory"),
    ],
)
def test_a_backend_that_cannot_be_is_refused(backend, message):
    refuse(message, {"backend": backend})


def test_a_host_in_brackets_is_a_host():
    for url in ("http://[::1]", "http://[::1]:4096"):
        assert load({"backend": {**OPENCODE, "url": url}}).backend.url == url


def test_a_postgresql_url_is_taken():
    assert load({"store": "postgresql://u:p@h/d"}).store == "postgresql://u:p@h/d"


@pytest.mark.parametrize(
    "given",
    [
        {"store": "postgres://u:hunter2@h"},
        {"store": "postgresql://u:hunter2@h/d", "x": 1},
        {"backend": {**OPENCODE, "password": ["hunter2"]}},
        {"backend": {**OPENCODE, "password": "hunter2\0"}},
        {"backend": {**OPENCODE, "url": "http://u:hunter2@h"}},
        {"backend": {**OPENCODE, "url": "hunter2://h"}},
        {"backend": {"kind": "opencode", "spawn": {}, "password": "hunter2"}},
        {"backend": {"password": "hunter2"}},
        {"backend": {"kind": "opencode", "spawn": {"env": {"TOKEN": "hunter2\0"}}}},
        {"backend": {"kind": "opencode", "spawn": {"command": ["x", "hunter2\0"]}}},
        {"share": {"baseUrl": "http://u:hunter2@h"}},
    ],
)
def test_no_error_shows_a_secret(given):
    with pytest.raises(PlueError) as caught:
        load(given)
    assert "hunter2" not in caught.value.message("plue_init") + repr(caught.value.details)


def test_settings_do_not_print_a_secret():
    settings = load({"backend": {**OPENCODE, "password": "hunter2"}})
    assert "hunter2" not in repr(settings) + repr(settings.backend) + str(settings.backend)
