"""create, rename, tag, delete, share, unshare: what changes sessions."""

import json
import sys

from plue_session.cli.host import Host
from plue_session.cli.show import clock, line


def create(options):
    """Create a session; as text its id, which a script may keep."""
    fields = {
        "title": options.title,
        "key": options.key,
        "description": options.description,
        "tags": options.tag,
        "parentId": options.parent,
    }
    with Host(dataDir=options.data_dir) as host:
        given = {name: value for name, value in fields.items() if value is not None}
        made = host.session("plue_session_create_with", json.dumps(given, ensure_ascii=False))
        text = host.text("plue_session_get_info", made)
    print(text if options.json else json.loads(text)["id"])
    return 0


def rename(options):
    """Set a session's title."""
    return _change(options, lambda host, session: host.number("plue_session_update_title", session, options.title))


def tag(options):
    """Add tags to a session, and remove some."""
    patch = json.dumps({"addTags": options.tags, "removeTags": options.remove}, ensure_ascii=False)
    return _change(options, lambda host, session: host.number("plue_session_update", session, patch))


def unshare(options):
    """End a session's share."""
    return _change(options, lambda host, session: host.number("plue_session_unshare", session))


def _change(options, change):
    """Change a session, and show how it is now."""
    with Host(dataDir=options.data_dir) as host:
        session = host.session("plue_session_open", options.session)
        change(host, session)
        text = host.text("plue_session_get_info", session)
    print(text if options.json else line(json.loads(text)))
    return 0


def delete(options):
    """Delete a session and all that belongs to it."""
    with Host(dataDir=options.data_dir) as host:
        session = host.session("plue_session_open", options.session)
        session_id = host.text("plue_session_get_id", session)
        host.number("plue_session_delete", session)
    print(json.dumps({"deleted": session_id}) if options.json else f"Deleted {session_id}.")
    return 0


def share(options):
    """Share a session; as text the link that a person gets."""
    with Host(dataDir=options.data_dir) as host:
        text = host.text("plue_session_create_share", host.session("plue_session_open", options.session))
    made = json.loads(text)
    print(text if options.json else made["link"])
    if "expiresAt" in made and not options.json:
        print(f"Whoever has this link gets in, until {clock(made['expiresAt'])}.", file=sys.stderr)
    return 0
