"""The configuration of `plue_init` (docs/guide.md): read, merged, checked against one table.

Messages name keys, never a URL, a password or an environment: what the host sets may be secret.
"""

import os
from functools import partial

from plue_session.errors import InvalidParam, JsonParse, StoreIo
from plue_session.rules import directories, fields
from plue_session.rules.jsontext import line_and_column, parse

#: The longest wait and the longest age that make sense, in ms: a C int, and some three thousand years.
MAX_WAIT = (1 << 31) - 1
MAX_AGE = 10**14
MAX_FILE = 1 << 20


class Settings:
    """A configuration, or an object in it: an attribute per key, in snake case (`settings.share.ttl_ms`)."""

    def __init__(self, values):
        self.__dict__.update(values)


def load(config_json, environ):
    """Return the `Settings` of `plue_init(config_json)`; `environ` is a dict of the host's environment variables.

    Precedence, key by key, also inside objects: the argument, the file that PLUE_SESSION_CONFIG names, the other
    variables, the defaults; empty variables count as unset. Failures name key and source: `JSON_PARSE`,
    `INVALID_PARAM`, `IO` when the file cannot be read.
    """
    given = {} if config_json is None else _check(parse(config_json, "the configuration"), "the configuration")
    path = environ.get("PLUE_SESSION_CONFIG")
    if path:
        what = f"the configuration file {path} (PLUE_SESSION_CONFIG)"
        try:
            given = _merge(given, _check(parse(_read_file(path, what), what, line_and_column), what))
        except JsonParse as error:
            raise JsonParse(error.cause, "Correct the file, or unset PLUE_SESSION_CONFIG.") from None
        except InvalidParam as error:
            cause = error.cause if what in error.cause else f"{what}: {error.cause}"
            raise InvalidParam(cause, error.remedy) from None
    given["log"] = {**_log(environ), **given.get("log", {})}
    backend = _backend(given, environ)
    values = {fields.snake(key): _value(rule, given, key, key) for key, rule in _RULES.items()}
    values["data_dir"], values["data_dir_rule"] = _data_dir(given, environ)
    values["backend"] = Settings(backend)
    _check_model(values["default_model"])
    _check_lease(values["lease"], given)
    return Settings(values)


# -- sources -----------------------------------------------------------------------------------------------------------
def _check(given, what):
    """Check all of one source, so that an error names the source it is in."""
    for key, value in fields.members(given, what, (*_RULES, *_APART)).items():
        if key in _APART:
            _APART[key](value, key)
        else:
            _value(_RULES[key], given, key, key)
    return given


def _read_file(path, what):
    remedy = "Correct or unset PLUE_SESSION_CONFIG."
    try:
        # O_NONBLOCK: opening a FIFO would wait for ever.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            data = file.read(MAX_FILE + 1) or b""
    except OSError as error:
        raise StoreIo(f"{what} cannot be read: {error.strerror}", remedy) from None
    if len(data) > MAX_FILE:
        raise InvalidParam(f"{what} has more than {MAX_FILE} bytes", remedy)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidParam(f"{what} is not UTF-8", remedy) from None


def _merge(upper, lower):
    """Put `upper` over `lower`, key by key, also inside objects. A backend of another kind or place is another
    backend."""
    merged = {**lower, **upper}
    for key, value in upper.items():
        if type(value) is dict and type(lower.get(key)) is dict:
            merged[key] = _merge_backend(value, lower[key]) if key == "backend" else {**lower[key], **value}
    return merged


def _merge_backend(upper, lower):
    if upper.get("kind") == "embedded" or "kind" in upper and "kind" in lower and upper["kind"] != lower["kind"]:
        return upper
    alternatives = {"spawn": _ATTACHED, "url": ("spawn",)}
    hidden = [key for choice, others in alternatives.items() if choice in upper for key in others]
    return {**{key: value for key, value in lower.items() if key not in hidden}, **upper}


def _log(environ):
    """Return what PLUE_SESSION_LOG, `<level>:<file>`, says of `log`."""
    if not (given := environ.get("PLUE_SESSION_LOG")):
        return {}
    level, _, file = given.partition(":")
    return {
        "level": _LEVEL(level, "the level in PLUE_SESSION_LOG"),
        "file": _path(file, "the file in PLUE_SESSION_LOG"),
    }


def _data_dir(given, environ):
    """Return the folder and what chose it. A variable with a relative path counts as unset, as the XDG specification
    says."""
    if "dataDir" in given:
        return _path(given["dataDir"], "dataDir"), "config"
    if environ.get("PLUE_SESSION_DATA_DIR"):
        return os.path.abspath(environ["PLUE_SESSION_DATA_DIR"]), "environment"
    for rule, below in (("XDG_DATA_HOME", ""), ("HOME", ".local/share")):
        if os.path.isabs(base := environ.get(rule, "")):
            return os.path.abspath(os.path.join(base, below, "plue_session")), rule
    import pwd

    try:
        return os.path.abspath(os.path.join(pwd.getpwuid(os.getuid()).pw_dir, ".local/share/plue_session")), "passwd"
    except KeyError:
        raise InvalidParam(
            f"dataDir has no default: user {os.getuid()} has no HOME, and no entry in the passwd database",
            "Set dataDir or PLUE_SESSION_DATA_DIR.",
        ) from None


# -- backend -----------------------------------------------------------------------------------------------------------
#: What is said of a server that somebody else has started.
_ATTACHED = ("url", "directory", "username", "password")


def _backend(given, environ):
    backend = dict(given.get("backend", {}))
    url = environ.get("PLUE_OPENCODE_URL")
    kind = backend.get("kind") or ("opencode" if url else "embedded")
    values = dict.fromkeys((*_ATTACHED, "spawn"))
    if kind == "embedded":
        if useless := backend.keys() - {"kind"}:
            raise InvalidParam(
                f"backend.{min(useless)} is of no use to the embedded backend",
                'Set backend.kind to "opencode", or leave the key out.',
            )
        return {"kind": kind, **values}
    if "spawn" in backend:
        outside = [key for key in _ATTACHED if key in backend]
        if outside:
            raise InvalidParam(
                f"backend.{outside[0]} and backend.spawn exclude each other",
                "Attach to a server by url, or spawn one; spawn has a directory and an env of its own.",
            )
    elif "url" not in backend:
        if not url:
            raise InvalidParam("backend.url is missing", "Set backend.url, backend.spawn or PLUE_OPENCODE_URL.")
        backend["url"] = _http_url(url, "PLUE_OPENCODE_URL")
    for key, variable in (("username", "OPENCODE_SERVER_USERNAME"), ("password", "OPENCODE_SERVER_PASSWORD")):
        if environ.get(variable):
            backend.setdefault(key, environ[variable])
    values.update(backend, kind=kind)
    if "spawn" in backend:
        spawn = {"command": ["opencode"], "env": {}, **backend["spawn"]}
        values["spawn"] = Settings({**spawn, "directory": _directory(spawn, "backend.spawn")})
    else:
        values["directory"] = _directory(backend, "backend")
        values["url"] = values["url"].rstrip("/")
    return values


def _directory(given, path):
    try:
        named = given["directory"] if "directory" in given else os.getcwd()
    except OSError as error:
        raise InvalidParam(
            f"no directory is named, and the working directory cannot be used: {error.strerror}",
            "Name one, or start elsewhere.",
        ) from None
    return directories.canonical(named, f"{path}.directory")


def _object(checks):
    """Return what checks an object by a table; what belongs together is seen after merging."""

    def check(value, path):
        for key, part in fields.members(value, path, checks, f"{path}.").items():
            checks[key](part, f"{path}.{key}")
        return value

    return check


def _command(value, path):
    if type(value) is not list or not value:
        raise InvalidParam(
            f"{path} must be a non-empty array of strings",
            'Pass the program and its arguments, such as ["opencode"].',
        )
    for place, word in enumerate(value):
        _word(word, f"{path}[{place}]", least=0 if place else 1)


def _environment(value, path):
    for name, text in fields.members(value, path, None).items():
        if not name or "=" in name or "\0" in name:
            raise InvalidParam(
                f"{path} has a name that no environment variable can have",
                'Names are not empty and hold no "=".',
            )
        _word(text, f"{path}.{fields.printable(name)}")


# -- values ------------------------------------------------------------------------------------------------------------
def _value(rule, given, key, path):
    """Check and return `given[key]`, or the default of its rule; objects recursively."""
    if type(rule) is dict:
        inner = fields.members(given.get(key, {}), path, rule, f"{path}.")
        return Settings(
            {fields.snake(name): _value(part, inner, name, f"{path}.{name}") for name, part in rule.items()}
        )
    check, default = rule
    if key not in given or given[key] is None and default is None:
        return default
    return check(given[key], path)


def _word(value, path, least=0):
    if "\0" in fields.text(value, path, least):
        raise InvalidParam(f"{path} holds a NUL", "Remove it.")
    return value


def _path(value, path):
    return os.path.abspath(_word(value, path, 1))


def _number(least, most=fields.MAX_INTEGER):
    return partial(fields.integer, least=least, most=most)


def _or_none(check):
    return lambda value, path: None if value is None else check(value, path)


def _choice(*choices):
    return partial(fields.choice, choices=choices)


def _url(value, path, schemes=None):
    """Check for `<scheme>://<place>` without credentials, query, fragment, blanks or control characters."""
    scheme, separator, place = fields.text(value, path).partition("://")
    if not separator or not place.strip("/") or not scheme.isalnum() or (schemes and scheme.lower() not in schemes):
        raise InvalidParam(f"{path} is not a URL", f"Write it as {(schemes or ('https',))[0]}://host.")
    if any(char in "?#" or char.isspace() or not char.isprintable() for char in place):
        raise InvalidParam(
            f"{path} has a query, a fragment or a character that no URL has", "Leave it out or percent-encode it."
        )
    if "@" in place.partition("/")[0]:
        raise InvalidParam(
            f"{path} holds credentials", "They would be shown with it; set username and password instead."
        )
    return value


def _http_url(value, path):
    authority = _url(value, path, ("http", "https")).partition("://")[2].partition("/")[0]
    host, colon, port = authority.rpartition(":")
    if authority.endswith("]") or not colon:
        host, port = authority, "80"
    if not (host and port.isdecimal() and len(port) < 6 and 0 < int(port) < 65536):
        raise InvalidParam(f"{path} has no host, or a port that none can have", "Write it as http://127.0.0.1:4096.")
    if not _is_host(host):
        raise InvalidParam(
            f"{path} names a host that none can have", "Write it as http://127.0.0.1:4096 or http://[::1]:4096."
        )
    return value


def _is_host(host):
    if host.startswith("["):
        from socket import AF_INET6, inet_pton  # the embedded store needs none of it

        try:
            return host.endswith("]") and bool(inet_pton(AF_INET6, host[1:-1].partition("%")[0]))
        except OSError:
            return False
    try:
        host = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        return False
    return all(0 < len(label) < 64 for label in host.removesuffix(".").split("."))


def _base_url(value, path):
    return _url(value, path).rstrip("/")


def _store(value, path):
    scheme, separator, place = fields.text(value, path).partition("://")
    if value not in ("sqlite", "memory") and not (scheme == "postgresql" and place):
        raise InvalidParam(f"{path} is none that the library knows", 'It is "sqlite", "memory" or a postgresql:// URL.')
    return _word(value, path)


def _model(value, path):
    pair = fields.members(value, path, ("providerId", "modelId"), f"{path}.")
    return Settings({fields.snake(key): fields.text(text, f"{path}.{key}", 1) for key, text in pair.items()})


def _check_model(model):
    for key in ("providerId", "modelId"):
        if model and not hasattr(model, fields.snake(key)):
            raise InvalidParam(f"defaultModel.{key} is missing", "A model has both providerId and modelId.")


def _check_lease(lease, given):
    if "renewMs" not in given.get("lease", {}):
        lease.renew_ms = lease.ttl_ms // 3
    if lease.ttl_ms < 3 * lease.renew_ms:
        raise InvalidParam(
            "lease.ttlMs is less than three times lease.renewMs",
            "Two renewals in a row may be lost without losing the lease: raise ttlMs or lower renewMs.",
        )


_DIRECTORY = partial(fields.text, least=1)
#: What checks the keys that are read apart.
_APART = {
    "dataDir": _path,
    "backend": _object(
        {
            "kind": _choice("embedded", "opencode"),
            "url": _http_url,
            "directory": _DIRECTORY,
            "username": _word,
            "password": _word,
            "spawn": _object({"command": _command, "directory": _DIRECTORY, "env": _environment}),
        }
    ),
}

_WAIT, _WAIT_OR_NOT, _AGE, _COUNT = _number(1, MAX_WAIT), _number(0, MAX_WAIT), _number(1, MAX_AGE), _number(1)
_LEVEL = _choice("debug", "info", "warning", "error")
#: The other keys, each with its check and default; None as default means "none", and null says so.
_RULES = {
    "store": (_store, "sqlite"),
    "cacheTtlMs": (_WAIT_OR_NOT, 5_000),
    "syncIntervalMs": (_WAIT, 30_000),
    "requestTimeoutMs": (_WAIT, 30_000),
    "offline": (_choice("queue", "fail"), "queue"),
    "defaultModel": (_model, None),
    "retry": {"attempts": (_number(1, 1_000), 3), "baseMs": (_WAIT_OR_NOT, 1_000), "maxMs": (_WAIT_OR_NOT, 30_000)},
    "share": {
        "baseUrl": (_base_url, "http://localhost:4780"),
        "ttlMs": (_or_none(_AGE), 86_400_000),
        "auto": (fields.flag, False),
    },
    "replay": {"limit": (_number(1, 1_000_000), 2_048), "ageMs": (_AGE, 120_000)},
    "lease": {"ttlMs": (_number(3, MAX_WAIT), 30_000), "renewMs": (_WAIT, 10_000)},
    "artifacts": {
        "compressAboveBytes": (_number(0), 10_240),
        "maxBytes": (_COUNT, 104_857_600),
        "maxSessionBytes": (_COUNT, 10_737_418_240),
    },
    "limits": {"activeSessions": (_COUNT, None)},
    "sessions": {"timeoutMs": (_AGE, None), "retentionMs": (_AGE, None), "cleanupMs": (_WAIT, 3_600_000)},
    "permissions": {"default": (_choice("ask", "allow", "deny"), "ask"), "deadlineMs": (_AGE, 600_000)},
    "hooks": {"strict": (fields.flag, False), "timeoutMs": (_WAIT, 5_000)},
    "log": {"level": (_LEVEL, "warning"), "file": (_path, None)},
}
