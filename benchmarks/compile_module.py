"""Compiles a generated module and prints its SASS; a child of `fa4_static`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from flash4gen.build.compile import MANY_QUERIES
from flash4gen.build.facts import disassemble
from flash4gen.build.load import load_module
from flash4gen.vgpu import virtual_gpu


def main(file: str) -> None:
    """Launch the module's function on many queries and keys, with launches switched off."""
    module = load_module(Path(file))
    heads, kv_heads = module.HEADS.value, module.KV_HEADS.value
    shapes = (
        (heads, module.HEAD_DIM.value),
        (kv_heads, module.HEAD_DIM.value),
        (kv_heads, module.VALUE_DIM.value),
    )
    with virtual_gpu(module.TARGET[1], execute=False) as gpu:
        q, k, v = (torch.zeros((1, MANY_QUERIES, *shape), dtype=module.DTYPE) for shape in shapes)
        getattr(module, module.__all__[0])(q, k, v)
    print(disassemble(gpu.launches[-1].asm["cubin"]))


if __name__ == "__main__":
    main(sys.argv[1])
