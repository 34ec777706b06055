"""The rows of attached agents: how soon what they say is told, how long an attachment takes, and how much memory."""

from report import both, median, shown, span


def attached_agents(bench):
    """An agent that does next to nothing (speaker.c), attached, and over bare pipes, in turns."""
    speaker, pieces, times = bench.programs["speaker"], bench.size["pieces"], bench.size["attachments"]
    ours, bare, attached, greeted = [], [], [], []
    for _ in range(bench.size["agent_rounds"]):
        ours += bench.run("attached", "deltas", bench.place("deltas"), speaker, pieces)
        bare += bench.run("attached", "bare", speaker, pieces)
        attached += bench.run("attached", "attach", bench.place("attach"), speaker, times)
        greeted += bench.run("attached", "greet", speaker, times)
    _deltas(bench, [each["us"] for each in ours], [each["us"] for each in bare])
    theirs = [each["ms"]["p50"] for each in greeted]
    for what, took in (
        ("an agent's attachment, the process's first", [each["first"] for each in attached]),
        ("an agent's attachment", [each["ms"]["p50"] for each in attached]),
    ):
        ratios = both(took, theirs)
        bench.row(
            what,
            "the agent's own start, initialize and session/new over pipes",
            f"{shown(median(took))} ms",
            f"{shown(median(theirs))} ms",
            median(ratios),
            span(ratios),
        )
    (took,) = bench.run("attached", "memory", bench.place("memory"), speaker, times)
    bench.row(
        f"memory of an attached agent's that is ours, of {times}",
        "–",
        f"{shown(took['here'] / 1024)} KiB, its guard {shown(took['guard'] / 1024)} KiB",
        "–",
        None,
    )


def _deltas(bench, ours, bare):
    took, peer = ([each["p50"] for each in side] for side in (ours, bare))
    worst = [median([each["p99"] for each in side]) for side in (ours, bare)]
    more = median(took) - median(peer)
    bench.row(
        "a piece of an answer from an agent's line to the observer",
        "read of the agent's standard output",
        f"p50 {shown(median(took))} µs, p99 {shown(worst[0])} µs",
        f"p50 {shown(median(peer))} µs, p99 {shown(worst[1])} µs",
        median(both(took, peer)),
        f"p50 {shown(more)} µs more",
        "p50 ≤ 2 ms more",
        more <= 2000,
    )


PARTS = (attached_agents,)
FULL = {"pieces": 100, "attachments": 20, "agent_rounds": 5}
QUICK = {"pieces": 5, "attachments": 2, "agent_rounds": 1}
