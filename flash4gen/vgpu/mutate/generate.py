"""Generates mutants: for each synchronising operation of a TTGIR text, each way to break it."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING

from flash4gen.vgpu.errors import own_source
from flash4gen.vgpu.mutate.edit import Editor, Site, sites
from flash4gen.vgpu.mutate.model import Mutant, MutantKind
from flash4gen.vgpu.parse.tree import PointerType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flash4gen.vgpu.parse.tree import Operation

# (kind, what was changed, the text; None where this operation cannot be broken so)
_Change = tuple[MutantKind, str, "str | None"]
_Rule = "Callable[[Site, Editor], Iterator[_Change]]"

# Operations without effect on memory or order: a synchronisation may pass them unnoticed.
_PURE = re.compile(
    r"(?:arith|math|ub|index)\.\w+|ttg\.(?:memdesc_\w+|convert_layout)|ttng\.tmem_subslice"
    r"|tt\.(?:splat|broadcast|expand_dims|make_range|reshape|trans|addptr|get_program_id"
    r"|get_num_programs|reduce|join|split|bitcast|unsplat)"
)
_LOOPS = frozenset({"scf.while", "scf.for", "scf.if"})
_ENDS = frozenset({"scf.condition", "scf.yield"})

# What a wait or a fence may guard, and what may have to be done before an arrival.
_ACCESS = re.compile(
    r"ttg\.(?:local_\w+|async_copy_global_to_local)|tt\.(?:load|store|atomic_\w+|dot\w*)"
    r"|ttng\.(?:tmem_(?:load|store|copy)|tc_gen5_\w+|warp_group_dot|async_\w+_copy_\w+|async_tma_\w+"
    r"|arrive_barrier(?:_named)?|clc_\w+|async_shared_store)"
)
# What an arrival may pass without consequence: the partition has done nothing between the two.
_ARRIVALS = frozenset({"ttng.arrive_barrier", "ttng.arrive_barrier_named"})
# Transfers out of shared memory. A wait for those so far that passes one waits for it as well.
_WRITE = re.compile(r"ttg\.local_store")
_OUTWARD = re.compile(r"ttng\.async_tma_(?:copy_local_to_global|reduce|scatter)")


def _contains(operation: Operation, pattern: re.Pattern[str]) -> bool:
    """Whether an operation, or one in its regions, has such a name."""
    return pattern.fullmatch(operation.name) is not None or any(
        _contains(inner, pattern)
        for region in operation.regions
        for block in region.blocks
        for inner in block.operations
    )


def _is_pure(operation: Operation) -> bool:
    return _PURE.fullmatch(operation.name) is not None


def _only_looks_up(operation: Operation, written: frozenset[str]) -> bool:
    """Whether all that an operation does is to load numbers of a type that nothing is written of.

    Where sequences start, for one: nobody waits until that has been read.
    """
    if operation.name == "tt.load":
        kind = operation.operand_types[0] if operation.operand_types else None
        return isinstance(kind, PointerType) and str(kind.element) not in written
    inner = [
        each for region in operation.regions for block in region.blocks for each in block.operations
    ]
    loop = operation.name in _LOOPS and bool(inner)
    return _is_pure(operation) or (
        loop and all(each.name in _ENDS or _only_looks_up(each, written) for each in inner)
    )


def _delete(site: Site, editor: Editor) -> Iterator[_Change]:
    yield MutantKind.DELETE, "left out", editor.without(site)


def _down(site: Site, editor: Editor) -> Iterator[_Change]:
    if any(_contains(operation, _ACCESS) for operation in site.after):
        yield MutantKind.MOVE, "moved behind what it guards", editor.moved_down(site, site.after)


def _up(site: Site, editor: Editor) -> Iterator[_Change]:
    pure = frozenset(operation.name for operation in site.before if _is_pure(operation))

    def idle(operation: Operation) -> bool:
        return operation.name in _ARRIVALS or _only_looks_up(operation, editor.written)

    moved = editor.moved_up(site, pure, idle)
    yield MutantKind.MOVE, "moved ahead of what it reports", moved


def _wait_barrier(site: Site, editor: Editor) -> Iterator[_Change]:
    yield from _delete(site, editor)
    yield MutantKind.PHASE, "the other phase", _flipped(site.operation, editor)
    yield from _down(site, editor)


def _flipped(operation: Operation, editor: Editor) -> str:
    """Return the text in which a wait is for the other parity."""
    line = editor.line(operation)
    indent, loc = line[: len(line) - len(line.lstrip())], _location(line)
    phase = f"%{operation.operands[1]}"
    changed = line.replace(f", {phase}", ", %mutant_phase", 1)
    extra = [
        f"{indent}%mutant_one = arith.constant 1 : i32{loc}",
        f"{indent}%mutant_phase = arith.xori {phase}, %mutant_one : i32{loc}",
    ]
    return editor.replaced(operation, "\n".join([*extra, changed]))


def _location(line: str) -> str:
    found = re.search(r" loc\(.*\)$", line)
    return found.group() if found else ""


def _counted(site: Site, editor: Editor) -> Iterator[_Change]:
    """Change the count that follows the first operand, where it is a number."""
    count = int(site.operation.operands[1])
    pattern = rf"(%[\w.$#-]+, ){count}\b"
    for kind, other in ((MutantKind.COUNT_UP, count + 1), (MutantKind.COUNT_DOWN, count - 1)):
        if other > 0:  # a count of zero is no valid one
            text = editor.substituted(site.operation, pattern, rf"\g<1>{other}")
            yield kind, f"{count} became {other}", text


def _init_barrier(site: Site, editor: Editor) -> Iterator[_Change]:
    yield from _delete(site, editor)
    yield from _counted(site, editor)


def _arrive(site: Site, editor: Editor) -> Iterator[_Change]:
    yield from _delete(site, editor)
    yield from _counted(site, editor)
    yield from _up(site, editor)


def _expect(site: Site, editor: Editor) -> Iterator[_Change]:
    yield from _delete(site, editor)
    size = int(site.operation.operands[1])
    for other in (size + 16, size - 16):
        text = editor.substituted(site.operation, rf", {size}\b", f", {other}")
        yield MutantKind.BYTES, f"{size} became {other}", text


def _commit(site: Site, editor: Editor) -> Iterator[_Change]:
    yield from _delete(site, editor)
    yield from _up(site, editor)


def _product(site: Site, editor: Editor) -> Iterator[_Change]:
    """Leave out the barriers that a product arrives at, each in turn."""
    line = editor.line(site.operation)
    for match in re.finditer(r", (%[\w.$#-]+)\[%[\w.$#-]+\]", line):
        changed = line[: match.start()] + line[match.end() :]
        text = editor.replaced(site.operation, changed)
        yield MutantKind.DELETE, f"does not arrive at {match.group(1)}", text


def _fence(site: Site, editor: Editor) -> Iterator[_Change]:
    yield from _delete(site, editor)
    yield from _down(site, editor)


def _groups(attribute: str) -> Callable[[Site, Editor], Iterator[_Change]]:
    """Return the rule of a wait that leaves up to so many groups pending."""

    def rule(site: Site, editor: Editor) -> Iterator[_Change]:
        yield from _delete(site, editor)
        pending = site.operation.attributes[attribute]
        assert isinstance(pending, int)
        pattern = rf"\b{attribute} = {pending}\b"
        text = editor.substituted(site.operation, pattern, f"{attribute} = {pending + 1}")
        yield MutantKind.COUNT_UP, f"{pending} pending became {pending + 1}", text

    return rule


def _copy_wait(site: Site, editor: Editor) -> Iterator[_Change]:
    yield from _groups("num")(site, editor)
    if _unused(site, editor):
        yield from _down(site, editor)


def _store_wait(site: Site, editor: Editor) -> Iterator[_Change]:
    yield from _groups("pendings")(site, editor)
    passed = tuple(takewhile(lambda operation: not _contains(operation, _OUTWARD), site.after))
    if any(_contains(operation, _WRITE) for operation in passed):
        text = editor.moved_down(site, passed)
        yield MutantKind.MOVE, "moved behind what it guards", text


def _unused(site: Site, editor: Editor) -> bool:
    """Whether nothing uses the results, so that the operation may move behind what follows."""
    names = "|".join(re.escape(name) for name in site.operation.results)
    rest = editor.lines[site.operation.line :]
    return not any(re.search(rf"%(?:{names})(?![\w$.-])", line) for line in rest)


_RULES: dict[str, Callable[[Site, Editor], Iterator[_Change]]] = {
    "ttng.wait_barrier": _wait_barrier,
    "ttng.arrive_barrier": _arrive,
    "ttng.async_copy_mbarrier_arrive": _commit,
    "ttng.barrier_expect": _expect,
    "ttng.init_barrier": _init_barrier,
    "ttng.tc_gen5_commit": _commit,
    "ttng.tc_gen5_mma": _product,
    "ttng.tc_gen5_mma_scaled": _product,
    "ttng.fence_async_shared": _fence,
    "ttng.async_tma_store_wait": _store_wait,
    "ttng.warp_group_dot_wait": _groups("pendings"),
    "ttg.async_wait": _copy_wait,
    "ttg.async_commit_group": _delete,
    "ttng.arrive_barrier_named": _commit,
    "ttng.wait_barrier_named": _fence,
    "ttng.cluster_barrier": _fence,
    "ttng.cluster_arrive": _commit,
    "ttng.cluster_wait": _fence,
    "ttg.barrier": _fence,
    "gpu.barrier": _fence,
}


def mutants(text: str) -> tuple[Mutant, ...]:
    """Return every mutant of a TTGIR text, in the order of the text.

    An operation whose results are used, and cannot be replaced by its operands, is weakened only.

    Raises:
        TtgirSyntaxError: the text is not TTGIR.
    """
    editor = Editor.of(text)
    found: list[Mutant] = []
    for site in sites(text):
        operation = site.operation
        rule = _RULES.get(operation.name)
        if rule is None:
            continue
        for kind, detail, mutated in rule(site, editor):
            if mutated is not None:
                found.append(
                    Mutant(
                        kind=kind,
                        op=operation.name,
                        line=operation.line,
                        source=own_source(operation.location),
                        detail=detail,
                        text=mutated,
                    )
                )
    return tuple(found)
