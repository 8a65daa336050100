"""Model + target → the text of its index module: which function computes which layer.

The index holds no kernel. It imports the modules of the layers, which lie beside it, and nothing
else at run time.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from flash4gen import __version__
from flash4gen.digest import digest
from flash4gen.render.environment import LINE, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.model import Block, Model

TEMPLATE = Path(__file__).with_name("model_index.py.j2")


@dataclass(frozen=True, slots=True)
class Part:
    """A tuple of layers: its name, and its entries as Python source."""

    name: str
    entries: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexContext:
    """What the template reads.

    Attributes:
        version: of flash4gen.
        spec_name: file name of the spec.
        target: name of the hardware item.
        digest: of the model, short.
        title: what the module is, in lines.
        name: of the function.
        count: number of layers.
        summary: lines of the docstring, a line per kind of layer.
        pattern: the layers as the spec writes them, in lines.
        imports: of the modules beside this one, sorted.
        parts: tuples to define, ``LAYERS`` the last.
    """

    version: str
    spec_name: str
    target: str
    digest: str
    title: tuple[str, ...]
    name: str
    count: int
    summary: tuple[str, ...]
    pattern: tuple[str, ...]
    imports: tuple[str, ...]
    parts: tuple[Part, ...]


def render_index(model: Model, hardware: Hardware) -> str:
    """Return the index module of a model for one target."""
    layers = model.layers
    counts = Counter(layers)
    width = len(str(len(layers)))
    docs = {item.name: item.doc for item in model.attentions}
    what = model.doc.rstrip(". ") or model.name
    title = f"{what}: the attention of each of its {len(layers)} layers, for {hardware.name}."
    pattern = f"layers {len(layers)} = {model.pattern}"
    context = IndexContext(
        version=__version__,
        spec_name=_spec_name(model),
        target=hardware.name,
        digest=f"sha256:{digest((model.name, model.doc, layers))[:16]}",
        title=tuple(textwrap.wrap(title, LINE - len('"""'))),
        name=model.name,
        count=len(layers),
        summary=tuple(_kind(counts[name], width, name, docs[name]) for name in docs),
        pattern=tuple(textwrap.wrap(pattern, LINE - 2, break_long_words=False)),
        imports=tuple(_import(name) for name in sorted(counts)),
        parts=tuple(_parts(model.blocks)),
    )
    return environment().from_string(TEMPLATE.read_text(encoding="utf-8")).render(ctx=context)


def _kind(count: int, width: int, name: str, doc: str) -> str:
    line = f"{count:>{width}} × {name}"
    return line if not doc or len(line) + len(doc) + 8 > LINE else f"{line}: {doc}"


def _import(name: str) -> str:
    line = f"from .{name} import {name}"
    return line if len(line) <= LINE else f"from .{name} import (\n    {name},\n)"


def _spec_name(model: Model) -> str:
    if model.span is None:
        return f"{model.name}.attn"
    return model.span.source.name.rpartition("/")[2]


def _parts(blocks: Sequence[Block]) -> Iterator[Part]:
    """Yield a part for every block that stands several times, and the whole of them.

    Entries stand one a line, so that no line gets long whatever the names are.
    """
    whole: list[str] = []
    number = 0
    for block in blocks:
        entries = _entries(block.names)
        if block.times == 1:
            whole += entries
        elif len(set(block.names)) == 1:
            whole += _entries(block.names * block.times)
        else:
            number += 1
            name = f"_PATTERN_{number}"
            yield Part(name, tuple(entries))
            whole.append(f"*{name} * {block.times}")
    yield Part("LAYERS", tuple(whole))


def _entries(names: Sequence[str]) -> list[str]:
    """Return entries of a tuple, neighbours of one name as one."""
    runs = [(name, len(list(same))) for name, same in groupby(names)]
    return [name if count == 1 else f"*({name},) * {count}" for name, count in runs]
