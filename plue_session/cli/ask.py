"""What a turn asks the person at the terminal: permissions and questions."""

import json

from plue_session.cli.show import printable

REPLIES = {"o": "once", "y": "once", "yes": "once", "a": "always", "r": "reject", "n": "reject", "no": "reject"}


class Permission:
    """A tool that may run or not."""

    def __init__(self, data):
        self.id, self._data = data["id"], data

    def text(self):
        what = " ".join([self._data["action"], *self._data.get("patterns", ())])
        return f"May it? {printable(self._data.get('title', what))} (once, always, reject)"

    def answer(self, host, session, line):
        """Pass a line on as the answer; the end of the input (None) rejects. Returns whether it was one."""
        reply = "reject" if line is None else line.strip().lower()
        host.number("plue_session_reply_permission", session, self.id, REPLIES.get(reply, reply))
        return True


class Question:
    """One or more questions with choices, asked one after the other and answered together."""

    def __init__(self, data):
        self.id, self._questions, self._answers = data["id"], data["questions"], []

    @property
    def _question(self):
        return self._questions[len(self._answers)]

    def text(self):
        question = self._question
        lines = [printable(question["question"])]
        lines += [
            f"  {number}. {printable(each['label'])}"
            + (f": {printable(each['description'])}" if each.get("description") else "")
            for number, each in enumerate(question["options"], 1)
        ]
        how = "numbers, separated by commas" if question.get("multiple") else "a number"
        own = ", or your own answer" if question.get("custom") else ""
        return "\n".join(lines) + f"\n({how}{own}; nothing rejects it)"

    def answer(self, host, session, line):
        """Take a line as the answer to the question that is next; when it was the last one, pass all on. Nothing, and
        the end of the input (None), rejects. Returns whether that was all."""
        if not (line or "").strip():
            host.number("plue_session_reply_question", session, self.id, None)
            return True
        labels = self._labels(line)
        if labels is None:
            return False
        self._answers.append(labels)
        if len(self._answers) < len(self._questions):
            return False
        answers, self._answers = self._answers, []  # if they are refused, it is asked anew
        host.number("plue_session_reply_question", session, self.id, json.dumps(answers, ensure_ascii=False))
        return True

    def _labels(self, line):
        """Return the labels that a line names, None if it names none."""
        question = self._question
        options = [each["label"] for each in question["options"]]
        words = [word.strip() for word in (line.split(",") if question.get("multiple") else [line])]
        if all(word.isdecimal() and 0 < int(word) <= len(options) for word in words):
            return [options[int(word) - 1] for word in words]
        if all(word in options for word in words):
            return words
        return [line.strip()] if question.get("custom") else None
