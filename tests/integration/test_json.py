"""Reading JSON in C: hostile texts under AddressSanitizer, compared with Python's own parser, and a locale that writes
numbers with a comma."""

import ctypes
import json
import math
import os
import random
import re
import subprocess

import pytest

from plue_session import prototypes
from tests import support

TORTURE = os.environ.get("PLUE_TORTURE") == "1"
NOT_FOUND, INVALID_PARAM, JSON_PARSE = -2, -1, -6
LONG = 2**63


@pytest.mark.requirement("X-017", "X-018")
def test_no_input_harms_and_the_functions_agree(tmp_path):
    program = support.library("address").compile(support.PROGRAMS / "json_fuzz.c")
    for seed in range(10):
        inputs = 1_000_000 if TORTURE else 20_000
        support.run([program, inputs, seed], env=support.environment(tmp_path), timeout=900)


@pytest.mark.requirement("X-018")
def test_a_comma_of_the_locale_changes_no_number(plain, tmp_path):
    made = subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", tmp_path / "de_DE.UTF-8"], capture_output=True)
    assert (tmp_path / "de_DE.UTF-8").exists(), f"localedef makes no de_DE: {made.stderr.decode()}"
    program = plain.compile(support.PROGRAMS / "json.c")
    assert "de_DE.UTF-8: comma" in support.run([program], env=support.environment(tmp_path, LOCPATH=tmp_path)).out


# -- compared with Python's parser -------------------------------------------------------------------------------------
class Object(list):
    """An object as the pairs that it has, in order, equal keys included."""


def whole(text):
    """Return the value of JSON text, numbers as they are spelled; ValueError where it is none."""

    def refuse(word):
        raise ValueError(word)

    return json.loads(
        text.decode("utf-8"),
        object_pairs_hook=Object,
        parse_constant=refuse,
        parse_int=Spelled,
        parse_float=Spelled,
    )


class Spelled(str):
    """A number."""

    @property
    def exact(self):
        """Return it cut towards zero, or None where it does not fit."""
        mantissa, _, power = self.lower().partition("e")
        power = int(power or 0)
        if abs(power) > 400:
            return 0 if power < 0 or not re.search("[1-9]", mantissa) else None
        head, _, tail = mantissa.lstrip("-").partition(".")
        digits = int(head + tail) * 10 ** max(power, 0)
        value = digits // 10 ** (len(tail) + max(-power, 0))
        value = -value if self.startswith("-") else value
        return value if -LONG <= value < LONG else None


def plain_text(text):
    """Return a string as the library does: half a surrogate pair is U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def escaped(key):
    return plain_text(key).replace("~", "~0").replace("/", "~1")


def places(value, pointer=""):
    """Yield each value that a pointer can name, with the pointer."""
    yield pointer, value
    if isinstance(value, Object):
        last = {plain_text(key): member for key, member in value}
        for key, member in last.items():
            if "\0" not in key:
                yield from places(member, f"{pointer}/{escaped(key)}")
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from places(element, f"{pointer}/{index}")


class Reader:
    """The library's functions, by bytes."""

    def __init__(self, library):
        self.plue = prototypes.load(str(library.path))
        self.visitor = prototypes.PROTOTYPES["plue_json_each"][1][2]

    def text(self, text, pointer):
        return prototypes.take(self.plue, self.plue.plue_json_text(text, pointer.encode()))

    def error(self):
        return self.plue.plue_get_last_error_code()

    def check(self, text, pointer, value):
        at = pointer.encode()
        number = isinstance(value, Spelled)
        expected = (None if value is None else int(value)) if isinstance(value, bool | None) else None
        expected = value.exact if number else expected
        assert self.plue.plue_json_int(text, at, 4321) == (4321 if expected is None else expected)
        real = float(value) if number and math.isfinite(float(value)) else 0.4321
        got = self.plue.plue_json_double(text, at, 0.4321)
        assert (got, math.copysign(1, got)) == (real, math.copysign(1, real))
        if isinstance(value, list):
            self.check_elements(text, at, value)
        else:
            assert self.plue.plue_json_count(text, at) == -1 and self.error() == INVALID_PARAM
        found = self.text(text, pointer)
        if isinstance(value, str) and not number:
            assert found == (None if "\0" in value else plain_text(value))
        else:
            assert whole(found.encode()) == value

    def check_elements(self, text, at, value):
        seen = []
        visit = self.visitor(lambda element, _: seen.append(whole(element)) or 0)
        assert self.plue.plue_json_count(text, at) == len(value)
        assert self.plue.plue_json_each(text, at, visit, None) == 0
        if isinstance(value, Object):
            value = [Object([("key", key), ("value", member)]) for key, member in value]
        assert seen == value


def made(chance, depth=0):
    """Return some value as JSON text, with all that may be different in its spelling."""
    space = chance.choice(["", "", "", " ", "\n\t "])
    kind = chance.randrange(8 if depth < 4 else 6)
    if kind < 2:
        sign, power = chance.choice(["", "-"]), chance.choice(["", "", "e5", "E-3", "e+18", "e400", "e-400", "e20"])
        return (
            f"{sign}{chance.randrange(10 ** chance.choice([1, 3, 19, 25]))}{chance.choice(['', '.0', '.9375'])}{power}"
        )
    if kind < 5:
        return string(chance)
    if kind == 5:
        return chance.choice(["true", "false", "null"])
    count = chance.randrange(5)
    if kind == 6:
        return "[" + ",".join(space + made(chance, depth + 1) + space for _ in range(count)) + space + "]"
    members = (f"{space}{string(chance, 2)}{space}:{space}{made(chance, depth + 1)}{space}" for _ in range(count))
    return "{" + ",".join(members) + space + "}"


def string(chance, most=12):
    parts = ["a", "b", "/", "~", "0", "1", "ä", "€", "😀", "\x7f", "0123456789", r"\u0061", r"\u00e4", r"\ud83d\ude00"]
    parts += [r"\ud800", r"\udfff", r"\u0001", r"\n", r"\"", r"\\", r"\/", r"\u20AC", r"\u007e"] + [r"\u0000"] * (
        most > 2
    )
    return '"' + "".join(chance.choice(parts) for _ in range(chance.randrange(most + 1))) + '"'


def bent(chance, text):
    """Return a text with a few bytes changed."""
    text = bytearray(text)
    for _ in range(chance.randrange(3)):
        at = chance.randrange(len(text) or 1)
        piece = chance.choice(
            [b"", b",", b"]", b"}", b'"', b"\\", b"0", b"-", b".", b"e", b"\t", b"\xc3", b"\xed\xa0\x80"]
        )
        text[at : at + chance.randrange(2)] = piece
    return bytes(text)


@pytest.mark.requirement("X-017", "X-018")
@pytest.mark.parametrize("seed", range(4))
def test_it_reads_what_pythons_parser_reads(plain, seed):
    reader, chance, good = Reader(plain), random.Random(seed), 0
    for _ in range(200_000 if TORTURE else 20_000):
        text = bent(chance, made(chance).encode())
        try:
            value = whole(text)
        except ValueError:
            assert reader.text(text, "") is None and reader.error() == JSON_PARSE, text
            assert reader.plue.plue_json_int(text, b"", 7) == 7
            continue
        good += 1
        for pointer, found in places(value):
            reader.check(text, pointer, found)
            assert reader.text(text, pointer + "/no such key") is None and reader.error() == NOT_FOUND
    assert good > 5_000


def test_a_visit_of_python_ends_the_visits(plain):
    reader, seen = Reader(plain), []
    visit = reader.visitor(lambda element, data: seen.append((element, data)) or len(seen) * (element == b"2"))
    assert reader.plue.plue_json_each(b"[1,2,3]", b"", visit, ctypes.c_void_p(5)) == 2
    assert seen == [(b"1", 5), (b"2", 5)]
