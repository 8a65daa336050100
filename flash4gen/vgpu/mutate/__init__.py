"""Mutation of TTGIR: every synchronising operation broken in turn, to see whether checks notice."""

from __future__ import annotations

from flash4gen.vgpu.mutate.generate import mutants
from flash4gen.vgpu.mutate.model import Mutant, MutantKind, MutationScore, Verdict
from flash4gen.vgpu.mutate.scoring import Launch, score, score_launches

__all__ = [
    "Launch",
    "Mutant",
    "MutantKind",
    "MutationScore",
    "Verdict",
    "mutants",
    "score",
    "score_launches",
]
