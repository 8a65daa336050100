"""The names that a generated module uses for itself, which its attention therefore cannot have.

A module defines its function last: by one of these names it would take the place of what the
functions before it mean. A test compares the list with what modules of every kind really say.
"""

from __future__ import annotations

import builtins

_IMPORTED = """
annotations Any Final torch triton Tensor driver libdevice tl gluon gl bw clc mbarrier tma
TensorDescriptor
"""
_DEFINED = """
Problem Sequence Inputs Memory Barriers GradientProblem GradientMemory GradientBarriers
"""
_CONSTANTS = """
TARGET DTYPE OUT_DTYPE BLOCK_SIZE HEADS KV_HEADS GROUP HEAD_DIM VALUE_DIM SCALE PRESCALE TO_LOG2
SHIFT UNIT CAP RISE FAR QUERY_TILES SHORT_QUERIES TILE_Q TILE_K STAGES STAGING PACK PACKS
ROWS HEAD_PAD VALUE_PAD SUM_PARTS ONES DROPPED_BELOW DROPOUT_SCALE
CHUNK HEAD_CHUNKS VALUE_CHUNKS SLOT_CHUNKS FRAGMENT COLUMNS OUT_COLUMNS THRESHOLD EMULATED EARLY
KEYS_TILE_Q KEYS_TILE_K KEYS_STAGES KEYS_OPTIONS QUERIES_TILE_Q QUERIES_TILE_K QUERIES_STAGES
QUERIES_OPTIONS PAIRS_TILE_Q PAIRS_TILE_K PAIRS_OPTIONS ROWS_OPTIONS CONVERT_OPTIONS
DISTANCES_TILE_Q DISTANCES_TILE_K DISTANCES_STAGES DISTANCES_OPTIONS
GRADIENT_Q GRADIENT_K QUERY_SPANS RUNS COMPUTE_ROLES SHARE Q_STAGES DO_STAGES DQ_COLUMNS DQ_SLOTS
GRADIENT_OPTIONS GRADIENT_SCALE SCORE_SLOPE COMPUTE_REGISTERS REDUCE_REGISTERS PRODUCT_REGISTERS
ROWS_BEFORE CONVERTED
SOFTMAX_REGISTERS OTHER_REGISTERS SHORT_SOFTMAX_REGISTERS SHORT_OTHER_REGISTERS L2_BYTES OPTIONS
"""

MODULE_NAMES = frozenset((_IMPORTED + _DEFINED + _CONSTANTS).split())
"""Beside these, helpers begin with an underscore, which ``check_item_name`` refuses."""


IN_TRITON = "_TL"
"""The end of a constant's name where it has another value beside kernels in Gluon."""


def taken(name: str) -> bool:
    """Whether a generated module means something else by a name."""
    return name.removesuffix(IN_TRITON) in MODULE_NAMES or hasattr(builtins, name)
