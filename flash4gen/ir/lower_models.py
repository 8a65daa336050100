"""``model`` items: a pattern of layers to one ``Model``, counted and with every name resolved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.diagnostics.suggest import did_you_mean
from flash4gen.ir.lower_fields import check_item_name, gather, plain_text
from flash4gen.ir.lower_targets import target_names
from flash4gen.ir.model import Block, Model
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flash4gen.diagnostics.collect import Findings
    from flash4gen.ir.nodes import Attention

FIELDS = ("doc", "target")
MAX_LAYERS = 10_000
MAX_SPELT, MAX_SHOWN = 4, 60


def lower_model(
    item: ast.Model,
    attentions: Mapping[str, Attention | None],
    targets: frozenset[str],
    findings: Findings,
) -> Model | None:
    """Return the item's meaning, or None after an error.

    Args:
        item: the item as written.
        attentions: every attention item in sight by name; None for one with an error.
        targets: names of all known hardware.
        findings: where to report.
    """
    before = findings.errors
    check_item_name(item.name, findings)
    fields = gather(item.name, item.fields, FIELDS, findings, {})
    doc = fields.text("doc")
    named = target_names(fields.get("target"), targets, findings)
    layers = _single(item, findings)
    if layers is None:
        return None
    _check_names(layers, attentions, findings)
    blocks = _blocks(layers, findings)
    if findings.errors > before or item.damaged or blocks is None:
        return None
    used = dict.fromkeys(name for block in blocks for name in block.names)
    found = [attentions[name] for name in used]
    if any(attention is None for attention in found):
        return None  # its error has been told
    known = tuple(attention for attention in found if attention is not None)
    return Model(
        name=item.name.text,
        doc=doc,
        blocks=blocks,
        attentions=known,
        targets=named or _common_targets(known),
        pattern=plain_text(layers.span.text.partition("=")[2]),
        borrowed=not (named or any(_same_file(item, one) for one in known)),
        span=item.name.span,
    )


def _same_file(item: ast.Model, layer: Attention) -> bool:
    return layer.span is not None and layer.span.source.name == item.name.span.source.name


def _common_targets(attentions: Sequence[Attention]) -> tuple[str, ...]:
    """Return the targets that all layers name, in the first one's order."""
    first, *others = attentions
    return tuple(name for name in first.targets if all(name in other.targets for other in others))


def _single(item: ast.Model, findings: Findings) -> ast.Layers | None:
    if not item.layers:
        if not item.damaged:
            findings.error(
                Code.MISSING_FIELD,
                f"model `{item.name.text}` lacks `layers`",
                item.name.span,
                helps=("add `layers 42 = repeat [local, full]`, with names of attention items",),
            )
        return None
    for other in item.layers[1:]:
        findings.error(
            Code.DUPLICATE,
            "`layers` is written twice",
            other.count.span,
            also=(Label(item.layers[0].count.span, "first here"),),
            helps=("write all layers in one: `layers 42 = 2 * first, repeat [local, full]`",),
        )
    return item.layers[0]


def _names(runs: Sequence[ast.Run]) -> Iterator[ast.Name]:
    for run in runs:
        if isinstance(run.what, ast.Name):
            yield run.what
        else:
            yield from _names(run.what)


def _check_names(
    layers: ast.Layers, attentions: Mapping[str, Attention | None], findings: Findings
) -> None:
    for name in _names(layers.runs):
        if name.text not in attentions:
            known = f"known here: {', '.join(attentions)}" if attentions else ""
            findings.error(
                Code.UNKNOWN_ATTENTION,
                f"unknown attention `{name.text}`",
                name.span,
                notes=(known,) if known else (),
                helps=did_you_mean(name.text, attentions)
                or ('define it in this file, or name its file: `use "layers.attn"`',),
            )


def _blocks(layers: ast.Layers, findings: Findings) -> tuple[Block, ...] | None:
    """Return the layers in blocks, or None where they do not come to the model's count."""
    wanted = _whole(layers.count, findings)
    sizes = [_size(run, findings) for run in layers.runs]
    repeats = [run for run in layers.runs if run.repeat]
    clear = _check_repeats(layers, repeats, findings)
    if wanted is None or any(size is None for size in sizes) or not clear:
        return None
    each = [size for size in sizes if size is not None]
    fixed = sum(size for size, run in zip(each, layers.runs, strict=True) if not run.repeat)
    times = 0
    if repeats:
        one = each[layers.runs.index(repeats[0])]
        times, over = divmod(wanted - fixed, one)
        if times < 1 or over:
            _does_not_fill(layers, repeats[0], (wanted, fixed, one), findings)
            return None
    elif fixed != wanted:
        _wrong_sum(layers, wanted, fixed, findings)
        return None
    return tuple(block for run in layers.runs for block in _expanded(run, times))


def _check_repeats(layers: ast.Layers, repeats: list[ast.Run], findings: Findings) -> bool:
    before = findings.errors
    for run in repeats[1:]:
        findings.error(
            Code.LAYERS,
            "two parts repeat, so how often each does is open",
            run.span,
            also=(Label(repeats[0].span, "the first"),),
            helps=("say how often one of them does: `3 * [local, full]`",),
        )
    for outer in layers.runs:
        inner = _inner_repeat(outer.what) if isinstance(outer.what, tuple) else None
        if inner is not None:
            findings.error(
                Code.LAYERS,
                "`repeat` inside brackets fills nothing",
                inner.span,
                helps=("say how often: `3 * local`",),
            )
    return findings.errors == before


def _inner_repeat(runs: tuple[ast.Run, ...]) -> ast.Run | None:
    for run in runs:
        if run.repeat:
            return run
        if isinstance(run.what, tuple) and (inner := _inner_repeat(run.what)):
            return inner
    return None


def _whole(count: ast.Number, findings: Findings) -> int | None:
    value = count.value
    if isinstance(value, int) and 1 <= value <= MAX_LAYERS:
        return value
    findings.error(
        Code.OUT_OF_RANGE,
        f"a number of layers is a whole number from 1 to {MAX_LAYERS}",
        Label(count.span, f"this is {count.span.text[:20]}"),
    )
    return None


def _size(run: ast.Run, findings: Findings) -> int | None:
    """Return how many layers a run has, a repeated one once; None after an error."""
    times = 1 if run.count is None else _whole(run.count, findings)
    inner = [1] if isinstance(run.what, ast.Name) else [_size(one, findings) for one in run.what]
    if times is None or any(size is None for size in inner):
        return None
    return times * sum(size for size in inner if size is not None)


def _does_not_fill(
    layers: ast.Layers, run: ast.Run, counts: tuple[int, int, int], findings: Findings
) -> None:
    wanted, fixed, one = counts
    left = wanted - fixed
    times, over = divmod(max(left, 0), one)
    what = plain_text(run.span.text.removeprefix("repeat"))
    beside = f" beside {fixed} others" if fixed else ""
    if left < one:
        message = f"there is no place for {one} layers{beside} in {wanted}"
    else:
        message = f"{one} layers do not fit evenly into the {left} that are left"
        message = message if fixed else f"a pattern of {one} layers does not fill {wanted} evenly"
    helps = [f"{times} times are {times * one} layers; name the other {over} one by one"]
    if times and over <= MAX_SPELT and len(what) <= MAX_SHOWN:
        rest = ", ".join(name.text for name in _layers_of(run)[:over])
        helps = [f"write `{times} * {what}, {rest}` if the last one is cut short"]
    findings.error(
        Code.LAYERS,
        message,
        Label(run.span, f"{one} layers"),
        also=(Label(layers.count.span, f"{wanted} in all"),),
        helps=helps if over and times else (),
    )


def _layers_of(run: ast.Run) -> list[ast.Name]:
    """Return the name of every layer of a run, a repeated one once."""
    times = 1
    if run.count is not None:
        assert isinstance(run.count.value, int)  # _whole
        times = run.count.value
    if isinstance(run.what, ast.Name):
        return [run.what] * times
    return [name for inner in run.what for name in _layers_of(inner)] * times


def _wrong_sum(layers: ast.Layers, wanted: int, given: int, findings: Findings) -> None:
    first, last = layers.runs[0].span, layers.runs[-1].span
    whole = len(layers.runs) == 1 and wanted % given == 0
    findings.error(
        Code.LAYERS,
        f"the model has {wanted} layers, these are {given}",
        Label(first.source.span(first.start, last.end), f"{given} layers"),
        also=(Label(layers.count.span, f"{wanted} in all"),),
        helps=(
            "write `repeat` before what fills the model"
            if whole
            else f"write `layers {given}`, or change how often a part of them stands there",
        ),
    )


def _expanded(run: ast.Run, repeats: int) -> Iterator[Block]:
    """Yield a run as blocks; its own count stays one number, what is inside is spelt out."""
    times = repeats if run.repeat else 1
    if run.count is not None and not run.repeat:
        assert isinstance(run.count.value, int)
        times = run.count.value
    once = ast.Run(run.what, None, False, run.span)
    yield Block(tuple(name.text for name in _layers_of(once)), times)
