"""When segments arrive, by a clock that the tests set."""

from __future__ import annotations

import math
from random import Random

import pytest

from toolchain.board.tcp_flow import SEGMENT, TcpFlow
from toolchain.hardware.link import Link


class Losing(Random):
    """Loses the segments whose numbers are given, counted from 0 with each that is sent again."""

    def __init__(self, *lost: int) -> None:
        super().__init__(0)
        self._lost, self._count = lost, -1

    def random(self) -> float:
        self._count += 1
        return 0.0 if self._count in self._lost else 1.0


def test_a_segment_takes_the_delay() -> None:
    flow = TcpFlow(Link(0.02), Losing())
    assert flow.send(SEGMENT, 5.0) == pytest.approx(5.02)


def test_a_rate_lets_one_segment_after_the_other_through() -> None:
    flow = TcpFlow(Link(rate=8 * SEGMENT * 10), Losing())
    assert [flow.send(SEGMENT, 0.0) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    assert flow.send(SEGMENT, 10.0) == pytest.approx(10.1), "what was not used is lost"


def test_no_more_is_sent_than_the_window_holds_until_word_comes_back() -> None:
    flow = TcpFlow(Link(0.02), Losing())
    first = flow.room(0.0)
    for _ in range(first):
        flow.send(SEGMENT, 0.0)
    assert flow.room(0.039) == 0
    assert flow.next_word() == pytest.approx(0.04)
    assert flow.room(0.0401) == 2 * first, "it doubles with each round trip at first"


def test_the_window_has_an_end() -> None:
    flow, now = TcpFlow(Link(0.02), Losing()), 0.0
    for _ in range(20):
        for _ in range(flow.room(now)):
            flow.send(SEGMENT, now)
        now += 0.041
    assert flow.room(now) == 1000


def test_a_lost_segment_comes_a_round_trip_later_and_holds_up_those_behind_it() -> None:
    flow = TcpFlow(Link(0.02, 0.01), Losing(4))
    arrivals = [flow.send(SEGMENT, 0.0) for _ in range(7)]
    assert arrivals == pytest.approx([0.02] * 4 + [0.06] * 3)
    assert flow.lost == 1


def test_a_lost_segment_that_nothing_follows_is_missed_a_round_trip_later() -> None:
    flow = TcpFlow(Link(0.02, 0.01), Losing(0))
    assert flow.send(100, 0.0) == pytest.approx(0.1)


def test_a_segment_that_is_lost_again_waits_for_the_time_out() -> None:
    flow = TcpFlow(Link(0.02, 0.01), Losing(4, 5))
    arrivals = [flow.send(SEGMENT, 0.0) for _ in range(5)]
    assert arrivals[-1] == pytest.approx(0.06 + 0.2)


def test_a_loss_halves_the_window_once_a_round_trip() -> None:
    flow = TcpFlow(Link(0.02, 0.01), Losing(4, 6, 8))
    first = flow.room(0.0)
    for _ in range(first):
        flow.send(SEGMENT, 0.0)
    # All word has come back; the window has grown by a segment in each round trip since.
    assert first // 2 <= flow.room(0.2) <= first // 2 + 2


@pytest.mark.parametrize(("delay", "loss"), [(0.02, 0.01), (0.05, 0.01), (0.02, 0.001)])
def test_long_transfers_have_the_throughput_of_mathis(delay: float, loss: float) -> None:
    """``segment / round_trip * sqrt(3 / (2 * loss))``, of which time-outs take some."""
    flow, now, sent = TcpFlow(Link(delay, loss), Random(1)), 0.0, 0  # noqa: S311 (no secret)
    while sent < 60_000:
        for _ in range(flow.room(now)):
            flow.send(SEGMENT, now)
            sent += 1
        now = max(now, flow.next_word() or now)
    expected = SEGMENT / (2 * delay) * math.sqrt(3 / (2 * loss))
    assert 0.6 < sent * SEGMENT / now / expected < 1.1


def test_the_share_of_segments_that_is_lost_is_the_links() -> None:
    flow = TcpFlow(Link(0.0, 0.02), Random(7))  # noqa: S311 (no secret)
    for number in range(20_000):
        flow.send(SEGMENT, float(number))
    assert flow.lost == pytest.approx(400, rel=0.2)


def test_what_nothing_is_lost_of_arrives_in_order_at_once() -> None:
    flow = TcpFlow(Link(), Losing())
    assert [flow.send(SEGMENT, now) for now in (0.0, 1.0, 2.0)] == [0.0, 1.0, 2.0]
