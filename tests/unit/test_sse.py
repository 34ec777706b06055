"""Server-sent events are cut by the standard's rules, wherever the bytes happen to be split."""

import json
import re
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plue_session.rules import sse

#: What OpenCode 1.18.33 has sent on /global/event while a session was created, renamed, prompted and deleted, byte by
#: byte. Its titles hold what other parsers stumble over: U+0085, U+2028, a character of four bytes.
RECORDING = Path(__file__).parents[1].joinpath("recorded", "global_event.sse").read_bytes()
RECORDED = [block.removeprefix(b"data: ") for block in RECORDING.removesuffix(b"\n\n").split(b"\n\n")]
#: The beginning of it, and texts that look like fields.
FEW = RECORDED[:6] + [
    b'{"payload":{"type":"message.part.delta","properties":{"delta":"data: not a field\\n\\n"}}}',
    b'{"payload":{"type":"session.idle","properties":{"nul":"\0"}}}',
]


def parse(*chunks):
    parser = sse.Parser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def reference(stream):
    """The standard, read as naively as possible: the whole stream at once."""
    stream = stream[3:] if stream.startswith(b"\xef\xbb\xbf") else stream
    lines = re.split(b"\r\n|\n|\r", stream)[:-1]
    events, data = [], []
    for line in lines:
        if line == b"":
            if data:
                events.append(b"\n".join(data))
            data = []
        elif line == b"data" or line.startswith(b"data:"):
            value = line[5:]
            data.append(value[1:] if value[:1] == b" " else value)
    return events


def split_everywhere(stream):
    """Return the events for each place where the stream is split in two, and as it comes byte by byte."""
    for place in range(len(stream) + 1):
        yield parse(stream[:place], stream[place:])
    yield parse(*(stream[place : place + 1] for place in range(len(stream))))


@pytest.mark.requirement("O-062")
def test_a_recorded_stream_gives_the_same_events_at_whichever_byte_it_is_split():
    assert len(RECORDED) > 90 and all(json.loads(event)["payload"] for event in RECORDED)
    assert all(mark in RECORDING for mark in ("\u0085".encode(), "\u2028".encode(), "\U0001f600".encode()))
    assert parse(RECORDING) == reference(RECORDING) == RECORDED
    assert all(found == RECORDED for found in split_everywhere(RECORDING))


@pytest.mark.requirement("O-062")
@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("lines", [1, 3])
def test_so_does_one_with_other_line_ends_and_with_data_of_several_lines(begin, end, lines):
    stream, events = begin, []
    for event in FEW:
        pieces = event.split(b",", lines - 1)  # a newline may stand there in JSON
        events.append(b"\n".join(pieces))
        stream += b"".join(b"data: " + piece + end for piece in pieces) + end
    assert len(stream) > 2000 and reference(stream) == events
    assert all(found == events for found in split_everywhere(stream))


@pytest.mark.requirement("O-062")
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_so_does_one_with_a_line_of_ten_megabytes(end):
    long = b"x" * (sse.MAX_EVENT - len(b"data: "))
    head, tail = b"data: a" + end + end + b"data: ", end + end + b"data: b" + end + end
    stream, events = head + long + tail, [b"a", long, b"b"]
    assert len(long) > 9_999_000
    ends = [*range(len(head) + 8), *range(len(stream) - len(tail) - 8, len(stream) + 1)]
    for place in [*ends, len(stream) // 2]:
        assert parse(stream[:place], stream[place:]) == events
    assert parse(*(stream[place : place + 65_536] for place in range(0, len(stream), 65_536))) == events


@pytest.mark.requirement("O-062")
@pytest.mark.parametrize(
    "stream, events",
    [
        (b"data: a\n\n", [b"a"]),
        (b"data: a\r\n\r\n", [b"a"]),
        (b"data: a\r\r", [b"a"]),
        (b"data: a\r\n\ndata: b\n\r\n", [b"a", b"b"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\n\n", [b""]),
        (b"data:\ndata\n\n", [b"\n"]),
        (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
        (b": heartbeat\n\ndata: a\n\n", [b"a"]),
        (b":\ndata: a\n:x\n\n", [b"a"]),
        (b"event: e\nid: 1\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"event: e\n\ndata: a\n\n", [b"a"]),
        (b"Data: a\ndatum: b\n data: c\n\n", []),
        (b"data: a\0b\n\n", [b"a\0b"]),
        (b"data: a:b: c\n\n", [b"a:b: c"]),
        (b"\n\n\ndata: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: unfinished\n", []),
        (b"", []),
    ],
)
def test_the_rules_of_the_standard_hold(stream, events):
    assert parse(stream) == events == reference(stream)
    assert parse(*(stream[place : place + 1] for place in range(len(stream)))) == events


@pytest.mark.requirement("O-062")
def test_an_event_is_delivered_with_its_last_byte():
    parser = sse.Parser()
    assert parser.feed(b"data: a\n") == []
    assert parser.feed(b"\n") == [b"a"]
    assert parser.feed(b"data: b\r\n\r") == [b"b"]
    assert parser.feed(b"\ndata: c\n\n") == [b"c"]
    assert parser.feed(b"data: d\n\n") == [b"d"]
    assert parser.feed(b"data: e\r\r") == [b"e"]
    assert parser.feed(b"\ndata: f\r\n\n") == [b"f"]


@pytest.mark.requirement("O-062")
def test_an_event_of_ten_megabytes_passes_and_a_longer_one_is_skipped():
    body = b"x" * sse.MAX_EVENT
    pieces = [body[place : place + 65536] for place in range(0, len(body), 65536)]
    assert parse(b"data: " + body + b"\n\n") == [body]
    for stream in (
        [b"data: ", body, b"y\n\n"],
        [b"data: ", *pieces, b"y", b"\n", b"\n"],
        [b"data: ", *pieces, b"y\r", b"\n\r\n"],
        [b"data: " + piece + b"\n" for piece in [*pieces, b"y"]] + [b"\n"],
        [b": ", *pieces, b"y", b"\ndata: c\n\n"],
        [b"data: ", *pieces, b"y\ndata: c", b"\ndata: d\n", b"e", b"\n\n"],
        [b"data: " + body + b"y\ndata: c\n\n"],
    ):
        assert parse(b"data: a\n\n", *stream, b"data: b\n\n") == [b"a", None, b"b"]
    assert parse(b"data: a\n\ndata: " + body + b"y\n\ndata: b\n\n") == [b"a", None, b"b"]


@pytest.mark.requirement("O-062")
def test_what_is_skipped_is_not_kept():
    parser, piece = sse.Parser(), b"x" * 1_000_000
    assert parser.feed(b"data: ") == []
    tracemalloc.start()
    for _ in range(100):
        assert parser.feed(bytes(piece[:-1]) + b"y") == []
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2 * sse.MAX_EVENT and kept < 2_000_000
    assert parser.feed(b"\n\ndata: b\n\n") == [None, b"b"]


@pytest.mark.requirement("O-062")
@given(
    st.lists(
        st.sampled_from([b"data: ", b"data:", b"xxxx", b"xxxxxxxxx", b"\n", b"\r", b"\n\n", b"\r\n", b"\n\ndata: "]),
        max_size=40,
    ),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_wherever_one_is_cut_the_events_around_a_skipped_one_are_told(pieces, cuts):
    stream = b"data: a\n\n" + b"".join(pieces) + b"\n\ndata: b\n\n"
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sse, "MAX_EVENT", 20)
        found = parse(*(stream[start:end] for start, end in pairwise(places)))
    short = [block for block in re.sub(b"\r\n|\r", b"\n", stream).split(b"\n\n") if len(block) <= 20]
    whole = [event for block in short for event in reference(block + b"\n\n")]
    assert found[0] == b"a" and found[-1] == b"b" and not [event for event in whole if event not in found]
    assert all(event is None or event in reference(stream) and len(event) <= 20 for event in found)


@pytest.mark.requirement("O-062")
@given(
    st.lists(
        st.sampled_from(
            [
                b"data: ",
                b"data",
                b":",
                b" ",
                b"\n",
                b"\r",
                b"\n\n",
                b"\r\n",
                b"{}",
                b"\xef\xbb\xbf",
                b"\0",
                b"\xc2\x85",
                b"\xe2\x80\xa8",
                b"x",
                b"\n\ndata: ",
                b"event: e\n",
            ]
        ),
        max_size=40,
    ),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_any_bytes_give_what_a_naive_reading_gives(pieces, cuts):
    stream = b"".join(pieces)
    # At the very end a CR may be half of a CRLF: both readings see a line end there.
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert parse(*(stream[start:end] for start, end in pairwise(places))) == reference(stream)
