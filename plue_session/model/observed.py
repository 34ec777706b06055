"""How one session stands, as of one moment."""

from collections import namedtuple

#: `last` is the newest log id, of all scopes; `is_ours`: the session was made here; `messages` are the newest, oldest
#: first, as `(Message, parts)`, parts None where they are not small; `usage`, `inputs` (those that wait) and
#: `transcript` as their ports read them; the others are bodies of asks that are open, in order.
Observed = namedtuple(
    "Observed", "last revision info turn is_ours messages has_older usage inputs permissions questions transcript"
)
