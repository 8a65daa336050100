"""Mutation of TTGIR: every synchronising operation broken in turn, to see whether checks notice."""

from __future__ import annotations

from flash4gen.vgpu.mutate.generate import mutants
from flash4gen.vgpu.mutate.model import Mutant, MutantKind, MutationScore, Verdict
from flash4gen.vgpu.mutate.pool import Pool, runner, usable_cores
from flash4gen.vgpu.mutate.runs import Baseline, Launch, baseline
from flash4gen.vgpu.mutate.scoring import score, score_bases, score_launches

__all__ = [
    "Baseline",
    "Launch",
    "Mutant",
    "MutantKind",
    "MutationScore",
    "Pool",
    "Verdict",
    "baseline",
    "mutants",
    "runner",
    "score",
    "score_bases",
    "score_launches",
    "usable_cores",
]
