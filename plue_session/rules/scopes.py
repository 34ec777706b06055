"""What sessions belong to: a backend, its server and its directory. Lists and comparisons are of one scope."""


def scope_of(backend, environ):
    """Name the scope of `settings.backend`; `environ` is the host's environment."""
    if backend.kind == "embedded":
        return backend.kind
    if backend.spawn:  # its port is another one each time; which sessions it has depends on where OpenCode keeps them
        of = {**environ, **backend.spawn.env}
        data = of.get("OPENCODE_DB") or of.get("XDG_DATA_HOME") or f"{of.get('HOME', '')}/.local/share"
        data = data.encode("utf-8", "surrogateescape").decode(
            "utf-8", "backslashreplace"
        )  # the environment may hold anything
        return f"{backend.kind} spawn {data} {backend.spawn.directory}"
    scheme, _, place = backend.url.partition("://")
    authority, slash, path = place.partition("/")
    return f"{backend.kind} {scheme.lower()}://{authority.lower()}{slash}{path} {backend.directory}"
