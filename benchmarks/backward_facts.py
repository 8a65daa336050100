"""Compiles backward kernels and writes what they need to ``schedule/backward/facts.csv``.

For every swept target and pair of widths the shapes of ``schedule/backward/space.py`` are compiled
in their order, until a few neither spill nor ask for more shared memory than a block may have, for
each ``Variant``: a softcap and a causal window, what registers a shape needs at most; then less.

    python -m benchmarks.backward_facts [TARGET ...]
"""

from __future__ import annotations

import csv
import re
import sys
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from triton import OutOfResources

from flash4gen.build.compile import artefact_of
from flash4gen.build.load import load_module
from flash4gen.ir import library
from flash4gen.render.module import render
from flash4gen.schedule.backward.facts import COLUMNS, FACTS, Fact, Key, Variant, read_facts
from flash4gen.schedule.backward.space import Kernel, candidates
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Choice, Load
from flash4gen.schedule.units import whole_tiles
from flash4gen.source import SourceFile
from flash4gen.vgpu import virtual_gpu

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.backward.model import LoopShape

TARGETS = ("a100", "rtx4090", "h100", "b200", "rtx5090", "mi300x", "mi355x")
WIDTHS = ((64, 64), (128, 128), (256, 256))
HEADS = 4
ENOUGH = 3
"""Shapes of a kernel that fit: the first, and spares for specs that need more registers."""

VARIANTS = {
    Kernel.KEYS: tuple(Variant),
    Kernel.QUERIES: (Variant.CAPPED, Variant.PLAIN, Variant.BARE),
    Kernel.PAIRS: (Variant.CAPPED,),
    Kernel.DISTANCES: (Variant.CAPPED,),
    Kernel.FUSED: (Variant.TOGETHER, Variant.BARE),
}
"""What each kernel is compiled for."""

WIDEST = 256
DEMANDING = {
    Kernel.KEYS: (Variant.CAPPED, Variant.TOGETHER),
    Kernel.QUERIES: (Variant.CAPPED,),
    Kernel.PAIRS: (Variant.CAPPED,),
    Kernel.DISTANCES: (Variant.CAPPED,),
    Kernel.FUSED: (),
}
"""The same for the widest heads, most of whose shapes spill, a minute each."""

SPEC = """
attention swept {{
    dtype    = bf16
    heads    = 4
    kv_heads = {kv_heads}
    head_dim = {head_dim} / {value_dim}
    input bias : f32[heads, seq_q, seq_k]
    input far : f32[heads, 257]
    input slopes : f32[heads]
    score    = {score}{bias}{slopes}
    mask     = {mask}
    passes   = forward, backward
    deterministic = {ordered}
    schedule {{ family = portable load = {load} }}
}}
"""

_FAR = " + far[h, min(max(k - q, -128), 128) + 128]"

NAMES = {
    Kernel.KEYS: "_key_gradient_kernel",
    Kernel.QUERIES: "_query_gradient_kernel",
    Kernel.PAIRS: "_bias_h_q_k_gradient_kernel",
    Kernel.DISTANCES: "_far_at_0_distance_gradient_kernel",
    Kernel.FUSED: "_key_gradient_kernel",
}


def attention_of(
    head_dim: int, value_dim: int, kernel: Kernel, variant: Variant, load: Load
) -> Attention:
    """Return the attention that a kernel is compiled for."""
    from flash4gen.ir.lower import analyse

    of_pairs = {Kernel.PAIRS: " + bias[h, q, k]", Kernel.DISTANCES: _FAR}
    bias = of_pairs.get(kernel, "")
    bare = variant is Variant.BARE
    apart = kernel is Kernel.KEYS and variant in (Variant.CAPPED, Variant.PLAIN)
    text = SPEC.format(
        head_dim=head_dim,
        value_dim=value_dim,
        load=load.value,
        ordered="false" if kernel is Kernel.FUSED else "true",
        kv_heads=HEADS if bare else HEADS // 2,
        score="softcap(s, 50)" if variant in (Variant.CAPPED, Variant.TOGETHER) else "s",
        slopes=" + slopes[h] * (k - q_end)" if apart else "",
        mask="causal(align = end)" + ("" if bare else " and window(keys = 4096)"),
        bias=bias,
    )
    for name, used in (
        ("bias", kernel is Kernel.PAIRS),
        ("far", kernel is Kernel.DISTANCES),
        ("slopes", apart),
    ):
        if not used:
            text = re.sub(f"    input {name} .*\n", "", text)
    found = analyse(SourceFile("swept.attn", text))
    assert not found.diagnostics, found.diagnostics
    return found.attentions[0]


def compiled(
    attention: Attention,
    hardware: Hardware,
    kernel: Kernel,
    shape: LoopShape,
    variant: Variant,
    load: Load,
) -> Fact:
    """Compile one kernel with one shape.

    Triton compiles none that needs too much tensor memory: of such a one that is all that is known.
    """
    choice = choose(attention, hardware)
    assert isinstance(choice, Choice)
    assert choice.backward is not None
    change: Any = {kernel.value: shape}
    if kernel is Kernel.FUSED:
        change = {Kernel.KEYS.value: shape, Kernel.QUERIES.value: None}
    schedule = replace(choice.backward.schedule, **change)
    changed = replace(choice, backward=replace(choice.backward, schedule=schedule))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "swept.py"
        path.write_text(render(attention, hardware, changed).text, encoding="utf-8")
        module = load_module(path)
        for name in ("_rows_kernel", "_convert_kernel", *NAMES.values()):
            if name != NAMES[kernel] and hasattr(module, name):
                setattr(module, name, _Idle())
        widths = attention.head_dim, attention.value_dim
        which = hardware.arch, kernel, *widths, shape, variant, load
        try:
            with virtual_gpu(hardware.arch, execute=False) as gpu:
                module._launch_backward(*_arguments(attention))
        except OutOfResources as error:
            if error.name != "tensor memory":
                raise
            return Fact(*which, registers=0, stack=0, smem=0, tmem=error.required)
    (launch,) = gpu.launches
    facts = artefact_of(launch, hardware).facts
    return Fact(*which, facts.registers, facts.spill_bytes, facts.smem_bytes, facts.tmem_columns)


class _Idle:
    """A kernel that does nothing, in the place of those that are not asked for."""

    def __getitem__(self, _grid: object) -> Callable[..., None]:
        return lambda *_, **__: None


def _arguments(attention: Attention) -> list[Any]:
    out = torch.zeros(1, 257, HEADS, attention.value_dim, dtype=torch.bfloat16)
    q = torch.zeros(1, 257, HEADS, attention.head_dim, dtype=torch.bfloat16)
    lse = torch.zeros(1, HEADS, 257)
    shapes = [attention.shape_of(tensor, 1, 257, 257) for tensor in attention.inputs]
    tensors = [torch.zeros(shape) for shape in shapes]
    needs = [True] * (3 + len(tensors))
    few = attention.kv_heads
    return [out, lse, q, q[:, :, :few], out[:, :, :few], *tensors, out, lse, needs]


def main(names: list[str]) -> None:
    """Sweep, and write after every row."""
    known = {fact.key: fact for fact in read_facts()}
    for name in names or list(TARGETS):
        hardware = library.target(name)
        for head_dim, value_dim in WIDTHS:
            kinds = VARIANTS if head_dim < WIDEST else DEMANDING
            loads = Load if whole_tiles(hardware, head_dim) else (Load.POINTER,)
            for kernel, load in product(Kernel, loads):
                for variant in kinds[kernel]:
                    attention = attention_of(head_dim, value_dim, kernel, variant, load)
                    sweep(known, attention, hardware, kernel, variant, load)


def sweep(
    known: dict[Key, Fact],
    attention: Attention,
    hardware: Hardware,
    kernel: Kernel,
    variant: Variant,
    load: Load,
) -> None:
    """Compile a kernel's shapes until a few fit, for AMD all of them: a second each.

    What is known is not compiled again.
    """
    widths = attention.head_dim, attention.value_dim
    fitting = 0
    for shape in candidates(hardware, kernel, load):
        key = (hardware.arch, kernel, *widths, shape, variant, load)
        if key not in known:
            known[key] = compiled(attention, hardware, kernel, shape, variant, load)
            write(list(known.values()))
        print(hardware.name, known[key], flush=True)
        fitting += known[key].fits(hardware)
        if fitting == ENOUGH and isinstance(hardware.arch, int):
            break


def write(facts: list[Fact]) -> None:
    """Write the table, in a fixed order."""
    with FACTS.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        in_order = sorted(facts, key=lambda fact: (isinstance(fact.arch, str), fact.row))
        table.writerows(fact.row for fact in in_order)


if __name__ == "__main__":
    main(sys.argv[1:])
