"""Progress: what is printed, when, and when nothing is."""

import pytest

from langlift import progress
from langlift.progress import ProgressBar, readable_seconds


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (75.2, "1 min 15 s"),
        (3599.7, "1 h 0 min"),
        (3600 * 25 + 61, "25 h 1 min"),
        (float("nan"), "unknown time"),
    ],
)
def test_seconds_are_written_for_people(seconds, text):
    assert readable_seconds(seconds) == text


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(clock, capsys):
    with ProgressBar("training", 100) as bar:
        for _ in range(50):
            clock.now += 1
            bar.advance(2, note="loss 1.5")
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "training: 22/100 steps  loss 1.5  11 s elapsed, 39 s remaining"
    assert lines[-1] == "training: 100/100 steps  loss 1.5  50 s elapsed, 0 s remaining"
    assert len(lines) == 5


def test_the_last_line_is_not_repeated(clock, capsys):
    with ProgressBar("scoring", 2, "tokens") as bar:
        clock.now += 11
        bar.advance(2)
    assert capsys.readouterr().err == "scoring: 2/2 tokens  11 s elapsed, 0 s remaining\n"


def test_the_rate_of_a_resumed_run_counts_only_what_was_done_since(clock, capsys):
    with ProgressBar("training", 100, unit="rows", done=80) as bar:
        clock.now += 2
        bar.advance(2)
        clock.now += 18
        bar.advance(9)
        assert capsys.readouterr().err == "training: 91/100 rows  20 s elapsed, 18 s remaining\n"


def test_the_time_left_is_estimated_once_a_step_has_been_timed_without_what_came_before(clock, capsys):
    with ProgressBar("training", 100) as bar:
        clock.now += 220  # loading, the validation before training, and one step
        bar.advance(1)
        assert capsys.readouterr().err == "training: 1/100 steps  3 min 40 s elapsed, unknown time remaining\n"
        clock.now += 11
        bar.advance(1)
        assert capsys.readouterr().err == "training: 2/100 steps  3 min 51 s elapsed, 17 min 58 s remaining\n"


def test_without_a_total_the_rate_is_shown_from_the_first_report_on(clock, capsys):
    with ProgressBar("labelling", None, "rows") as bar:
        clock.now += 20
        bar.advance(100)
        assert capsys.readouterr().err == "labelling: 100 rows  20 s elapsed, 5 rows/s\n"


def test_short_work_and_failed_work_print_no_last_line(clock, capsys):
    with ProgressBar("short", 1) as bar:
        clock.now += 1
        bar.advance()
    with pytest.raises(KeyError), ProgressBar("failing", 2) as bar:
        clock.now += 5
        bar.advance()
        raise KeyError
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


def test_a_terminal_gets_a_bar_and_no_lines(capsys, monkeypatch):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1.0)
    with ProgressBar("training", 4) as bar:
        bar.advance(3, note="loss 0.5")
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/4" in err
    assert "loss 0.5" in err
    assert "elapsed" not in err
