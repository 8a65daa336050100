"""Published measurements that ship with the package: what the clock is compared with.

In: the CSV files in ``measured/``, whose README says what the columns mean. Out: a ``Measurement``
for each row of an attention kernel on a whole GPU.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).with_name("measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One printed number of one attention kernel, bf16.

    Attributes:
        file: name of the file it stands in, without its ending.
        source: who printed it.
        gpu: the product's name, as the source has it or as it was inferred.
        kernel: name of the kernel, such as ``fa4`` or ``fa4_abl_noemu``.
        head_dim: width of q and k.
        value_dim: width of v and out.
        heads: query heads.
        kv_heads: key/value heads.
        length: queries, and keys, of a sequence.
        batch: sequences.
        causal: whether the mask is causal.
        tflops: 10¹² operations a second, by the source's convention.
        exactness: how exact the printed number is.
        inferred: whether the GPU is a guess.
    """

    file: str
    source: str
    gpu: str
    kernel: str
    head_dim: int
    value_dim: int
    heads: int
    kv_heads: int
    length: int
    batch: int
    causal: bool
    tflops: float
    exactness: str
    inferred: bool

    @property
    def operations(self) -> float:
        """Operations of the printed convention: two products, half of them under a causal mask."""
        scores: float = self.batch * self.heads * self.length**2
        if self.causal:
            exact = self.file == "cudnn_frontend"
            scores *= (self.length + 1) / (2 * self.length) if exact else 0.5
        return 2 * scores * (self.head_dim + self.value_dim)

    @property
    def seconds(self) -> float:
        """Time of one launch."""
        return self.operations / (self.tflops * 1e12)


@cache
def measurements() -> tuple[Measurement, ...]:
    """Return the forward rows of bf16 attention that say all that is needed to repeat them."""
    found = (
        _measurement(path.stem, row) for path in sorted(FOLDER.glob("*.csv")) for row in _rows(path)
    )
    return tuple(row for row in found if row is not None)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


NEEDED = ("head_dim", "heads_q", "heads_kv", "seqlen", "batch", "causal")
"""Columns without which a row cannot be repeated."""


def _measurement(file: str, row: dict[str, str]) -> Measurement | None:
    """Return a row, or None if it is of another pass or type, or leaves something out."""
    if row["pass"] != "fwd" or row["dtype"] not in ("bf16", "bfloat16"):
        return None
    if not all(row[name] for name in NEEDED):
        return None
    head_dim, _, value_dim = row["head_dim"].partition("/")
    return Measurement(
        file=file,
        source=row["source"],
        gpu=row["gpu"],
        kernel=row["kernel"],
        head_dim=int(head_dim),
        value_dim=int(value_dim or head_dim),
        heads=int(row["heads_q"]),
        kv_heads=int(row["heads_kv"]),
        length=int(row["seqlen"]),
        batch=int(row["batch"]),
        causal=row["causal"] == "1",
        tflops=float(row["tflops"]),
        exactness=row["exactness"],
        inferred="inferred" in row["note"] or "_or_" in row["gpu"],
    )
