"""What global memory delivers again: counted by hand."""

from __future__ import annotations

from flash4gen.simulate.traffic import Program, read_from_memory


def test_programs_that_run_together_share_what_they_read() -> None:
    programs = [Program(0, 4), Program(0, 3), Program(1, 2)]
    assert read_from_memory(programs, 3, 10, 0) == (4 + 2) * 10


def test_what_fits_into_l2_comes_once() -> None:
    programs = [Program(head, 4) for _ in range(5) for head in range(2)]
    assert read_from_memory(programs, 2, 10, 80) == 2 * 4 * 10


def test_what_does_not_fit_comes_each_time() -> None:
    """Two heads of 40 bytes each: when the first comes again, 80 have been read since."""
    programs = [Program(head, 4) for _ in range(5) for head in range(2)]
    assert read_from_memory(programs, 2, 10, 79) == 5 * 2 * 4 * 10


def test_only_what_was_not_read_before_is_missing() -> None:
    programs = [Program(0, 2), Program(0, 5), Program(0, 3)]
    assert read_from_memory(programs, 1, 10, 1000) == 5 * 10


def test_a_head_after_the_other_needs_no_large_cache() -> None:
    """Query tiles first: a head's programs follow each other."""
    programs = [Program(head, 4) for head in range(8) for _ in range(4)]
    assert read_from_memory(programs, 2, 10, 40) == 8 * 4 * 10
