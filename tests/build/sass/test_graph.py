"""Control flow read from SASS: where branches go, dominators and ways against brute force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from flash4gen.build.sass.graph import build_graph
from flash4gen.build.sass.listing import read_listings
from flash4gen.build.sass.loops import find_loops, turn
from tests.build.sass.listings import listing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.build.sass.graph import Graph
    from flash4gen.build.sass.loops import Loop


def graph_of(*lines: str) -> Graph:
    (function,) = read_listings(listing(*lines))
    return build_graph(function)


def test_branches_go_where_their_predicates_let_them() -> None:
    graph = graph_of(
        "BRA.U UP0, `(.L_x_1)",  # 0: either way
        "@!P0 BRA `(.L_x_2)",  # 1: either way
        "BRA.DIV ~URZ, `(.L_x_3)",  # 2: either way
        "BRA `(.L_x_3)",  # 3: away
        ".L_x_1:",
        "@P0 EXIT",  # 4: on or out
        ".L_x_2:",
        "@PT EXIT",  # 5: out
        ".L_x_3:",
        "CALL.REL.NOINC `(helper)",  # 6: on, when it comes back
        "RET.REL.NODEC R4 `(kernel)",  # 7: out
    )
    assert graph.successors == ((4, 1), (5, 2), (6, 3), (6,), (5,), (), (7,), ())


def test_a_table_goes_to_every_label_that_it_lists() -> None:
    graph = graph_of(
        'BRX R4 -0x36e0 (*"BRANCH_TARGETS .L_x_2,.L_x_1"*)',
        "EXIT",
        ".L_x_1:",
        "EXIT",
        ".L_x_2:",
        "EXIT",
    )
    assert graph.successors[0] == (3, 2)
    assert set(graph.rank) == {0, 2, 3}


def test_threads_meet_at_the_end_of_the_region_on_the_same_barrier() -> None:
    graph = graph_of(
        "BSSY.RECONVERGENT B0, `(.L_x_3)",
        "BSSY.RECONVERGENT B1, `(.L_x_2)",
        "@P0 BRA `(.L_x_1)",  # 0
        "BSYNC.RECONVERGENT B1",  # 1
        ".L_x_1:",
        "BSYNC.RECONVERGENT B0",  # 2
        ".L_x_2:",
        "NOP",  # 3
        ".L_x_3:",
        "EXIT",  # 4
    )
    assert graph.successors == ((2, 1), (3,), (4,), (4,), ())


@st.composite
def programs(draw: st.DrawFn) -> list[str]:
    """Return functions of up to nine blocks with any branches among them."""
    count = draw(st.integers(2, 9))
    lines: list[str] = []
    for block in range(count):
        lines += [f".L_x_{block}:", *["STG.E desc[UR8][R2.64], R0"] * draw(st.integers(1, 4))]
        target = draw(st.integers(0, count - 1))
        end = draw(st.sampled_from(["", "@P0 ", "always"]))
        if end:
            lines.append(f"{'' if end == 'always' else end}BRA `(.L_x_{target})")
    return [*lines, "EXIT"]


def reachable(graph: Graph, without: int | None = None) -> set[int]:
    seen: set[int] = set()
    left = [0]
    while left:
        block = left.pop()
        if block not in seen and block != without:
            seen.add(block)
            left += graph.successors[block]
    return seen


@given(programs())
def test_dominators_are_the_blocks_that_no_way_avoids(lines: list[str]) -> None:
    graph = graph_of(*lines)
    everything = reachable(graph)
    assert everything == set(graph.order)
    for above in everything:
        rest = reachable(graph, without=above)
        for block in everything:
            assert graph.dominates(above, block) == (block not in rest)


def ways(graph: Graph, loop: Loop, block: int) -> Iterator[tuple[int, ...]]:
    """Yield every way from a block to the end of a turn that only goes forward."""
    if loop.header in graph.successors[block]:
        yield (block,)
    for after in graph.successors[block]:
        if after in loop.body and graph.rank[after] > graph.rank[block]:
            for rest in ways(graph, loop, after):
                yield (block, *rest)


@given(programs())
def test_turns_are_the_longest_and_the_shortest_way(lines: list[str]) -> None:
    graph = graph_of(*lines)
    loops = find_loops(graph, frozenset())
    heads = {a for b in graph.order for a in graph.successors[b] if graph.dominates(a, b)}
    assert {loop.header for loop in loops} == heads
    for loop in loops:
        lengths = [
            sum(len(graph.blocks[block]) for block in way) for way in ways(graph, loop, loop.header)
        ]
        for longest, extreme in ((True, max), (False, min)):
            way = turn(graph, loop, longest=longest)
            assert way in set(ways(graph, loop, loop.header))
            assert sum(len(graph.blocks[block]) for block in way) == extreme(lengths)
