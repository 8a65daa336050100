"""Cases of packed sequences: which lengths there are, and that they come apart again."""

from __future__ import annotations

import torch

from flash4gen.ir.nodes import Lengths
from flash4gen.validate.cases import Case, Layout, Values
from flash4gen.validate.inputs import make_inputs
from flash4gen.validate.packed import apart, lengths_of, starts
from tests.ir.notation import attention

PACKED = attention(mask="k <= q_end", lengths=Lengths.PACKED)
CASE = Case(name="here", seq_q=20, seq_k=50, values=Values.NEEDLES)


def test_sequences_differ_and_some_are_empty() -> None:
    known = lengths_of(CASE)
    assert known[0] == (20, 50)
    assert known[-1] == known[0]
    assert len({*known}) == len(known) - 1 > 3
    assert any(seq_q == 0 < seq_k for seq_q, seq_k in known)
    assert any(seq_k == 0 < seq_q for seq_q, seq_k in known)
    assert lengths_of(Case(name="none", batch=0, seq_q=3, seq_k=5)) == ()


def test_starts_are_sums_of_lengths() -> None:
    found = starts(CASE)
    assert found["cu_seqlens_q"].diff().tolist() == [seq_q for seq_q, _ in lengths_of(CASE)]
    assert found["cu_seqlens_k"].diff().tolist() == [seq_k for _, seq_k in lengths_of(CASE)]
    assert found["cu_seqlens_k"].dtype is torch.int32


def test_the_parts_are_the_whole() -> None:
    inputs = make_inputs(PACKED, CASE)
    found = list(apart(inputs.q, inputs.k, inputs.v, inputs.tensors))
    assert [(x.q.shape[1], x.k.shape[1]) for x in found] == list(lengths_of(CASE))
    assert torch.equal(torch.cat([x.q[0] for x in found]), inputs.q)
    assert torch.equal(torch.cat([x.v[0] for x in found]), inputs.v)
    assert [x.entry for x in found] == list(range(len(found)))


def test_starts_stay_what_they_are_in_every_layout() -> None:
    for layout in Layout:
        inputs = make_inputs(PACKED, Case(name="here", seq_q=9, seq_k=11, layout=layout))
        assert inputs.tensors["cu_seqlens_q"][-1] == inputs.q.shape[0]
        assert inputs.tensors["cu_seqlens_k"][-1] == inputs.k.shape[0]
        assert inputs.untouched
