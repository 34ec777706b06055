"""What an agent says, whatever its protocol."""

from collections import namedtuple

#: A piece of text; `kind` is "text" or "reasoning"; `message_id` tells messages apart where the agent has ids for them.
Said = namedtuple("Said", "kind text message_id")

#: Something of a file or picture in an answer: a `file` as parts have it.
Shown = namedtuple("Shown", "file message_id")

#: A tool is called, or goes on; `changes` are what is new of {"name","title","state","input","output","raw"}, state as parts have it.
Tool = namedtuple("Tool", "call_id changes")

#: The plan, whole, as `plue_session_todos` shows it.
Planned = namedtuple("Planned", "todos")

#: How much of its context is in use, of how much (tokens), and the `cost` of the conversation so far in US dollars;
#: None where it does not say.
Metered = namedtuple("Metered", "used size cost")

#: What an input may name, as `plue_session_choices` shows it, and what is chosen: ids, or None.
Offer = namedtuple("Offer", "models modes commands model mode")

#: It names the conversation.
Named = namedtuple("Named", "title")

#: It asks for leave. `request` is what `Agent.answer` takes; `options` are `(id, kind)`, kind "allow_once", "allow_always", "reject_once" or
#: "reject_always"; the rest as `plue_session_permissions` shows it.
Asked = namedtuple("Asked", "request call_id action title patterns options")

#: It withdraws what it has asked.
Withdrawn = namedtuple("Withdrawn", "request")

#: The answer to a ticket: its value, or an error (a `PlueError`).
Answered = namedtuple("Answered", "ticket value error")

#: How a prompt ended: `reason` is "end_turn", "max_tokens", "max_turn_requests", "refusal" or "cancelled"; `tokens` are (input, output, reasoning, cache read, cache
#: write), or None.
Finish = namedtuple("Finish", "reason tokens")

#: Something that is not of the protocol, cut to a line: a banner, a log.
Noise = namedtuple("Noise", "text")

#: The process is gone, and nothing of it is left. `error` says why, with its exit and last words; of one that was closed it is `CLOSED`.
Gone = namedtuple("Gone", "error")
