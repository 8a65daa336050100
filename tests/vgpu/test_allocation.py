"""Memory that is live at once, against what the target has."""

from __future__ import annotations

from flash4gen.vgpu import parse_ttgir
from flash4gen.vgpu.allocation import over_allocations
from flash4gen.vgpu.errors import FindingKind

KIND = "!ttg.memdesc<256x128xf16, #shared, #smem, mutable>"
FREE_A = f"ttg.local_dealloc %a : {KIND} loc(#loc)"
TEXT = f"""\
#loc = loc(unknown)
#shared = #ttg.swizzled_shared<{{vec = 8, perPhase = 1, maxPhase = 8, order = [1, 0]}}>
#smem = #ttg.shared_memory
module attributes {{"ttg.num-ctas" = 1 : i32, ttg.target = "cuda:120"}} {{
  tt.func public @kernel() attributes {{noinline = false}} {{
    %a = ttg.local_alloc : () -> {KIND} loc(#loc)
    FIRST
    %b = ttg.local_alloc : () -> {KIND} loc(#loc)
    ttg.local_dealloc %b : {KIND} loc(#loc)
    LAST
    tt.return loc(#loc)
  }} loc(#loc)
}} loc(#loc)
"""


def findings(*, free_first: bool) -> list[str]:
    first, last = (FREE_A, "") if free_first else ("", FREE_A)
    module = parse_ttgir(TEXT.replace("FIRST", first).replace("LAST", last))
    return [finding.message for finding in over_allocations(module)]


def test_two_buffers_of_64_kib_at_once_are_more_than_an_sm_120_has() -> None:
    assert findings(free_first=False) == [
        "131072 bytes of shared memory are in use from here on; the target has 101376"
    ]


def test_one_after_the_other_they_fit() -> None:
    assert findings(free_first=True) == []


def test_the_finding_has_a_kind_of_its_own() -> None:
    text = TEXT.replace("FIRST", "").replace("LAST", FREE_A)
    (finding,) = over_allocations(parse_ttgir(text))
    assert finding.kind is FindingKind.SMEM_OVERALLOCATION
    assert finding.op == "ttg.local_alloc"
