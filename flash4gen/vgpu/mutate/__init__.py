"""Mutation of TTGIR: every synchronising operation broken in turn, to see whether checks notice."""

from __future__ import annotations

from flash4gen.vgpu.mutate.generate import mutants
from flash4gen.vgpu.mutate.model import Mutant, MutantKind, MutationScore, Verdict
from flash4gen.vgpu.mutate.scoring import score

__all__ = ["Mutant", "MutantKind", "MutationScore", "Verdict", "mutants", "score"]
