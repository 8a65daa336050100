"""Cases of keys in blocks: which lengths there are, and that pools give back what went in."""

from __future__ import annotations

import pytest
import torch

from flash4gen.ir.nodes import Lengths
from flash4gen.validate.cases import Case, Layout, Values
from flash4gen.validate.inputs import make_inputs
from flash4gen.validate.paged import gathered, lengths_of, pool_of
from tests.ir.notation import attention

PAGED = attention(mask="k <= q_end", block_size=8)
PACKED = attention(mask="k <= q_end", block_size=8, lengths=Lengths.PACKED)
CASE = Case(name="here", batch=2, seq_q=20, seq_k=50, values=Values.NEEDLES)


def test_entries_differ_and_some_have_no_keys() -> None:
    known = lengths_of(CASE, packed_queries=False)
    assert known[:2] == ((20, 50), (20, 50))
    assert {seq_q for seq_q, _ in known} == {20}
    assert {seq_k for _, seq_k in known} == {50, 0, 16, 25}
    assert lengths_of(Case(name="none", batch=0, seq_q=3, seq_k=5), packed_queries=False) == ()


def test_no_block_has_two_owners_and_the_rest_of_the_table_is_unusable() -> None:
    pool = pool_of([50, 0, 16], 8, seed=0)
    used = torch.tensor([7, 0, 2])
    owned = torch.cat([row[:count] for row, count in zip(pool.table, used, strict=True)])
    assert len(set(owned.tolist())) == 9
    assert 0 <= int(owned.min()) <= int(owned.max()) < pool.blocks
    unused = torch.cat([row[count:] for row, count in zip(pool.table, used, strict=True)])
    assert not ((unused >= 0) & (unused < pool.blocks)).any()


@pytest.mark.parametrize("variant", [PAGED, PACKED], ids=["batch", "packed"])
@pytest.mark.parametrize("layout", Layout)
def test_what_is_gathered_is_what_was_dealt_out(variant: object, layout: Layout) -> None:
    assert variant in (PAGED, PACKED)
    which = PAGED if variant is PAGED else PACKED
    case = Case(name="here", batch=2, seq_q=9, seq_k=21, layout=layout)
    inputs = make_inputs(which, case)
    found = list(gathered(inputs.q, inputs.k, inputs.v, inputs.tensors))
    known = lengths_of(case, packed_queries=which.packed)
    assert [(x.q.shape[1], x.k.shape[1]) for x in found] == list(known)
    for each in found:
        assert each.q.isfinite().all()
        assert each.k.isfinite().all()
        assert each.v.isfinite().all()
    assert inputs.k.isnan().any()  # blocks of nobody
    assert inputs.untouched
