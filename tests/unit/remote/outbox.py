"""What the tests of the outbox ask for: as a caller would, by name."""

import json

from plue_session import errors

REFUSED = errors.InvalidParam("the server answered 400", details={"status": 400})
SICK = errors.Server("the server answered 500", details={"status": 500})


def rename(world, session, title):
    return world.do(lambda on: on.sessions.update_title(getattr(session, "id", session), title))


def update(world, session, **patch):
    return world.do(lambda on: on.sessions.update(getattr(session, "id", session), json.dumps(patch)))


def delete(world, session):
    world.do(lambda on: on.sessions.delete(getattr(session, "id", session)))


def discard(world, session, name):
    world.do(lambda on: world.writer.run(on_preview(world, session, name)))


def on_preview(world, session, name):
    return world.sessions.discard_pending(getattr(session, "id", session), name).preview


def sync(world, session):
    return world.info(session)["sync"]


def status(world):
    return json.loads(world.sync.status())


def resolved(world, session):
    return world.store.id_of_alias(session.id)
