"""A cache of compiled kernels for one file alone."""

from __future__ import annotations

from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from triton import knobs

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def own_cache(file: Path) -> Iterator[None]:
    """Let Triton keep what it compiles of a file apart from all other files.

    It knows kernels by their text: one that was copied from another file would be found compiled,
    and its findings would name that file.
    """
    name = sha256(str(file.resolve()).encode()).hexdigest()[:16]
    with knobs.cache.scope():
        knobs.cache.dir = str(Path(knobs.cache.dir) / f"vgpu-{name}")
        yield
