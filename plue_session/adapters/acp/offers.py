"""What an agent offers to choose from: models, modes, commands."""

from plue_session.model.said import Offer


class Offers:
    """What is offered by now. An agent's models and modes are told as such, or as options of its configuration with
    that category; where it has options, they count."""

    def __init__(self, provider):
        self._provider = provider  # what its models are said to be of
        self._commands, self._told, self._options = [], {"model": (None, []), "mode": (None, [])}, {}

    def offer(self):
        """Return it as an `Offer`. A model's `modelId` is the agent's own id for it."""
        model, models = self._told["model"]
        mode, modes = self._told["mode"]
        return Offer(
            [{"providerId": self._provider, "modelId": id, "name": name} for id, name, _ in models],
            [{"name": id, "description": about or name} for id, name, about in modes],
            list(self._commands),
            model,
            mode,
        )

    def request(self, kind, id):
        """Return `(method, params)` of the request to choose this, without the session; None: there is no choice."""
        if kind in self._options:
            return "session/set_config_option", {"configId": self._options[kind], "value": id}
        return (f"session/set_{kind}", {f"{kind}Id": id}) if self._told[kind][1] else None

    def begin(self, data):
        """Take what an agent tells when a conversation is begun or restored; it may tell nothing."""
        if type(data) is not dict:
            return
        for kind, key, ids in (("model", "models", "modelId"), ("mode", "modes", "id")):
            state = data.get(key)
            if type(state) is dict:
                listed = _listed(state.get(f"available{key.title()}"), ids)
                self._told[kind] = _text(state.get(f"current{kind.title()}Id")), listed
        self.configure(data.get("configOptions"))

    def configure(self, options):
        """Take the options of the agent's configuration, all of them."""
        for option in options if type(options) is list else ():
            kind = _text(option.get("category")) if type(option) is dict else None
            if kind in self._told and option.get("type") == "select" and _text(option.get("id")):
                self._options[kind] = option["id"]
                self._told[kind] = _text(option.get("currentValue")), _listed(_flat(option.get("options")), "value")

    def choose(self, kind, id):
        """Note what is chosen. Returns whether that is another one than before."""
        was, listed = self._told[kind]
        self._told[kind] = id, listed
        return was != id

    def command(self, commands):
        """Take the commands, all of them."""
        self._commands = [
            {"name": name, "description": about or ""} for name, _, about in _listed(commands, "name") if name
        ]


def _flat(options):
    """Return options without the groups that they may be in."""
    found = []
    for each in options if type(options) is list else ():
        inner = each.get("options") if type(each) is dict else None
        found += inner if type(inner) is list else [each]
    return found


def _listed(values, id):
    """Return `(id, name, description or None)` of what has an id."""
    return [
        (each[id], _text(each.get("name")) or each[id], _text(each.get("description")))
        for each in (values if type(values) is list else ())
        if type(each) is dict and _text(each.get(id))
    ]


def _text(value):
    return value if type(value) is str and value else None
