"""The configuration that a start would use."""

import json
import os

from plue_session import config, errors

_SET = "(set)"


def load(data_dir):
    """Return the settings that plue_init would use."""
    return config.load(None if data_dir is None else json.dumps({"dataDir": data_dir}), os.environ)


def spawning(data_dir):
    """Return the settings if they have the library start a server; None also for settings that no start would take."""
    try:
        settings = load(data_dir)
    except errors.PlueError:
        return None
    return settings if settings.backend.spawn else None


def is_served(settings):
    """Return whether another program runs the server that these settings would start, and shares it."""
    from plue_session.adapters.opencode.process import running, share_of

    return settings.store == "sqlite" and bool(running(share_of(settings.data_dir, settings.backend.spawn, os.environ)))


def shown(settings):
    """Return settings as the configuration's JSON would have them; of what may be secret only that it is set. A
    command's arguments are shown: any user sees those of a process, so they hold no secret."""
    told = {}
    for name, value in vars(settings).items():
        if name == "data_dir_rule":  # no key, but where one comes from
            continue
        head, *tail = name.split("_")
        key = head + "".join(map(str.capitalize, tail))
        if isinstance(value, config.Settings):
            told[key] = shown(value)
        elif key == "env":
            told[key] = dict.fromkeys(value, _SET)
        elif value is not None:
            told[key] = _SET if key == "password" or key == "store" and "://" in value else value
    return told
