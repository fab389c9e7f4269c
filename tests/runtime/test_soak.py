"""The soak of bench/sessions/soak.py, short: memory, pages, sequences and threads are what they were."""

import json

from bench import peers


def test_requests_that_go_away_leave_nothing(tiny_int4, seed):
    """In a process of its own, whose memory is looked at."""
    words = ["--model", tiny_int4, "--requests", "60", "--seed", str(seed), "--json"]
    finished = peers.run_bench("sessions.soak", *words)  # which fails with what does not hold
    found = json.loads(finished.stdout)
    assert found["requests"] == 60 and found["running"] == 0
    assert len(found["ended"]) > 3
    assert found["pages"][0] == found["pages"][1] and found["peak"] <= found["budget"]
