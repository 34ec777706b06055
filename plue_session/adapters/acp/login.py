"""Logging in without a user. Pure.

That an agent names ways to log in says nothing: most are logged in already. Only when it asks for it (-32000), and only
once, those ways are tried that need nobody, because the key is in the environment that the agent runs in:

- a method of the type "env_var" whose variables are set;
- one without a type that is called as a variable that is set ("gemini-api-key": GEMINI_API_KEY), or whose name or
  description names one (OPENAI_API_KEY).
"""

import re

_VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:KEY|TOKEN)\b")


def methods(data):
    """Return the ways to log in of an `initialize` answer: dicts with an id."""
    listed = data.get("authMethods")
    return [
        each for each in (listed if type(listed) is list else ()) if type(each) is dict and type(each.get("id")) is str
    ]


def without_user(methods, environment):
    """Return the ids of those methods that need no user there."""
    return [each["id"] for each in methods if _is_ready(each, environment)]


def _is_ready(method, environment):
    kind = method.get("type")
    if kind == "env_var":
        listed = method.get("vars")
        needed = [
            each for each in (listed if type(listed) is list else ()) if type(each) is dict and not each.get("optional")
        ]
        return bool(needed) and all(environment.get(str(each.get("name"))) for each in needed)
    if kind not in (None, "agent"):
        return False
    named = _VARIABLE.findall(f"{method.get('name')} {method.get('description')}")
    own = re.sub(r"\W", "_", method["id"]).upper()
    return any(environment.get(name) for name in [*named, *([own] if _VARIABLE.fullmatch(own) else [])])
