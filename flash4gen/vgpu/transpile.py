"""Turns a function of TTGIR into Python source, once, and that into a callable.

Every operation becomes one line, `v7 = k12(v5, v6)`, where `k12` is what its handler returned;
structured control flow becomes Python's own. A table from line to operation lets the runner say
where an exception arose without a word about positions at run time.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import flash4gen.vgpu.ops  # noqa: F401 - registers the operations
from flash4gen.vgpu.concurrent.sites import SYNCHRONISING, Site
from flash4gen.vgpu.errors import FaultError, VirtualGpuError, finding_at
from flash4gen.vgpu.lowering import Alias, Constant, Nothing, Step, lower, unsupported
from flash4gen.vgpu.parse.tree import (
    Block,
    Function,
    Module,
    Operand,
    Operation,
    Region,
    ScalarType,
    TensorType,
    Type,
)
from flash4gen.vgpu.spread import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from flash4gen.vgpu.reuse import Reuse

# Operations that end a region with values for the operation around it.
_YIELDS = ("scf.yield",)
# Numbers of sites: no two of a process are alike, so that partitions of several texts go together.
_NUMBERS = itertools.count()
# The name under which the globals of generated code hold its table of operations.
OPERATIONS = "__operations__"


@dataclass(slots=True)
class _Code:
    """Python source that grows, and which operation each line stands for."""

    lines: list[str] = field(default_factory=list)
    operations: list[Operation | None] = field(default_factory=lambda: [None])
    depth: int = 0

    def line(self, text: str, op: Operation | None = None) -> None:
        self.lines.append("    " * self.depth + text)
        self.operations.append(op)

    @contextmanager
    def block(self, header: str, op: Operation | None = None) -> Iterator[None]:
        self.line(header, op)
        self.depth += 1
        start = len(self.lines)
        yield
        if len(self.lines) == start:
            self.line("pass")
        self.depth -= 1


@dataclass(frozen=True, slots=True)
class _Part:
    """A region as a function of its own.

    Attributes:
        function: takes the machine, and the values that the region uses.
        values: their names in the TTGIR.
        sites: the synchronising operations in it.
    """

    function: Callable[..., Any]
    values: tuple[str, ...]
    sites: tuple[Site, ...]


class _FunctionWriter:
    """Writes one function; `values` maps names of the TTGIR to Python expressions.

    Args:
        functions: the module's other functions, by name; filled while they are compiled.
        sites: where the checked machine learns which operation runs; functions that it runs are
            generators. None writes plain functions.
        around: names that the code around a region may hand over.
    """

    def __init__(
        self,
        functions: dict[str, Callable[..., Any]],
        sites: Sites | None = None,
        around: Container[str] = (),
    ) -> None:
        self._functions = functions
        self._sites = sites
        self._around = around
        self._captured: dict[str, str] = {}
        self._space: dict[str, Any] = {}
        self._values: dict[str, str] = {}
        self._code = _Code()
        self._count = 0

    # --- names --------------------------------------------------------------------------------

    def _fresh(self, name: str) -> str:
        self._count += 1
        self._values[name] = f"v{self._count}"
        return f"v{self._count}"

    def _bind(self, prefix: str, value: Any) -> str:
        name = f"{prefix}{len(self._space)}"
        self._space[name] = value
        return name

    def _use(self, operand: Operand | None) -> str:
        if operand is None or not isinstance(operand, str):
            return repr(operand)
        if operand not in self._values:
            if operand not in self._around:
                raise unsupported(f"value %{operand} is not visible here")
            self._captured[operand] = self._fresh(operand)
        return self._values[operand]

    def _uses(self, operands: tuple[Operand | None, ...]) -> str:
        return ", ".join(self._use(operand) for operand in operands)

    # --- functions ----------------------------------------------------------------------------

    def function(self, function: Function) -> Callable[..., Any]:
        """Write and compile a whole function."""
        arguments = ["cta", *(self._fresh(argument.name) for argument in function.arguments)]
        with self._code.block(f"def function({', '.join(arguments)}):"):
            self._generator()
            self._body(function.body)
        return self._compiled("function")

    def combiner(self, region: Region) -> Callable[..., Any]:
        """Write and compile a region of scalar operations as a function of tensors."""
        block = region.blocks[0]
        arguments = [self._fresh(argument.name) for argument in block.arguments]
        with self._code.block(f"def combine({', '.join(arguments)}):"):
            for op in block.operations:
                self._operation(_lifted(op))
        return self._compiled("combine")

    def partition(self, name: str, region: Region) -> _Part:
        """Write and compile a partition as a function of its arguments and what it captures."""
        arguments = [self._fresh(argument.name) for argument in _body(region).arguments]
        with self._code.block("def"):  # what is captured is known in the end
            self._generator()
            self._body(region)
        self._code.lines[0] = (
            f"def {name}({', '.join(['cta', *arguments, *self._captured.values()])}):"
        )
        sites = () if self._sites is None else tuple(self._sites.synchronising)
        return _Part(self._compiled(name), tuple(self._captured), sites)

    def _compiled(self, name: str) -> Callable[..., Any]:
        """Compile what was written and return the function of that name."""
        space = self._space
        space["__builtins__"] = {"range": range, "tuple": tuple, "isinstance": isinstance}
        table = f"{OPERATIONS}{name}"
        space[table] = self._code.operations
        code = compile("\n".join(self._code.lines) + "\n", f"<{table}>", "exec")
        exec(code, space)
        function: Callable[..., Any] = space[name]
        return function

    def _body(self, region: Region) -> None:
        if len(region.blocks) > 1:
            self._blocks(region)
        else:
            self._operations(_body(region))

    def _generator(self) -> None:
        """Make a generator of the function, whatever it does."""
        if self._sites is not None:
            with self._code.block("if False:"):
                self._code.line("yield")

    def _blocks(self, region: Region) -> None:
        """Write unstructured control flow: a loop around the block that is next."""
        numbers = {block.label: i for i, block in enumerate(region.blocks)}
        for block in region.blocks[1:]:
            for argument in block.arguments:
                self._fresh(argument.name)
        self._code.line("block = 0")
        with self._code.block("while True:"):
            self._turn()
            for i, block in enumerate(region.blocks):
                with self._code.block(f"if block == {i}:"):
                    for op in block.operations[:-1]:
                        self._operation(op)
                    self._branch(block.operations[-1], region, numbers)

    def _branch(self, op: Operation, region: Region, numbers: dict[str, int]) -> None:
        """Write the end of a block: a return, or assignments and a jump."""
        match op.name:
            case "cf.br":
                self._jump(op, op.successors[0], region, numbers)
            case "cf.cond_br":
                with self._code.block(f"if {self._use(op.operands[0])}:", op):
                    self._jump(op, op.successors[0], region, numbers)
                self._jump(op, op.successors[1], region, numbers)
            case _:
                self._operation(op)

    def _jump(
        self,
        op: Operation,
        successor: tuple[str, tuple[Operand, ...]],
        region: Region,
        numbers: dict[str, int],
    ) -> None:
        label, values = successor
        block = region.blocks[numbers[label]]
        self._settle(op, [self._values[argument.name] for argument in block.arguments], values)
        self._code.line(f"block = {numbers[label]}", op)
        self._code.line("continue", op)

    # --- operations ---------------------------------------------------------------------------

    def _operations(self, block: Block) -> None:
        for op in block.operations:
            self._operation(op)

    def _operation(self, op: Operation) -> None:
        structured = getattr(self, "_op_" + op.name.replace(".", "_"), None)
        try:
            if structured is not None:
                structured(op)
            else:
                self._plain(op)
        except FaultError as fault:
            raise finding_at(op, fault.kind, fault.message) from fault
        except VirtualGpuError:
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            message = f"{op.name} is printed in a form that is not known ({error!r})"
            raise finding_at(op, unsupported("").kind, message) from error

    def _plain(self, op: Operation) -> None:
        regions = _Regions(self._functions)
        self._note(op)
        ctas = 1 if self._sites is None else self._sites.ctas
        match lower(op, regions) if ctas == 1 else spread(op, regions, ctas):
            case Constant(value):
                self._values[op.results[0]] = self._bind("c", value)
            case Alias(operands):
                for result, operand in zip(op.results, operands, strict=True):
                    self._values[result] = self._use(operand)
            case Nothing():
                for result in op.results:
                    self._values[result] = "None"
            case Step(call, operands, machine, blocks):
                arguments = self._uses(operands)
                if machine:
                    arguments = f"cta, {arguments}" if arguments else "cta"
                expression = f"{self._bind('k', call)}({arguments})"
                if machine:
                    self._at(op)
                if blocks and self._sites is not None:
                    expression = f"yield from {expression}"
                self._assign(op, expression)

    def _at(self, op: Operation) -> None:
        """Tell the checked machine which operation runs."""
        if self._sites is not None:
            self._code.line(f"cta.at = {self._bind('s', self._sites.site(op))}", op)

    def _turn(self, op: Operation | None = None) -> None:
        """Let the checked machine count a turn of a loop."""
        if self._sites is not None:
            self._code.line("cta.turn()")
        if op is not None:
            self._note(op)

    def _note(self, op: Operation) -> None:
        """Let a recorder know that an operation runs, or that a turn of a loop begins."""
        if self._sites is not None and self._sites.noted:
            self._code.line(f"cta.note({self._bind('n', op)})", op)

    def _assign(self, op: Operation, expression: str) -> None:
        targets = ", ".join(self._fresh(result) for result in op.results)
        self._code.line(f"{targets} = {expression}" if targets else expression, op)

    # --- structured control flow --------------------------------------------------------------

    def _op_scf_for(self, op: Operation) -> None:
        (variable, start), *carried = op.bindings
        stop, step = op.labelled["to"][0], op.labelled["step"][0]
        if "unsigned" in op.words:
            raise unsupported("scf.for over unsigned bounds is not supported")
        initial = self._uses(tuple(value for _, value in carried))
        names = [self._fresh(name) for name, _ in carried]
        if names:
            self._code.line(f"{', '.join(names)}, = {initial},", op)
        bounds = self._uses((start, stop, step))
        with self._code.block(f"for {self._fresh(variable)} in range({bounds}):", op):
            self._turn(op)
            self._nested(_body(op.regions[0]), names)
        for result, name in zip(op.results, names, strict=True):
            self._values[result] = name

    def _nested(self, block: Block, targets: list[str]) -> None:
        """Write a block whose `scf.yield` assigns to `targets`."""
        for op in block.operations:
            if op.name in _YIELDS:
                self._settle(op, targets, op.operands)
            else:
                self._operation(op)

    def _settle(self, op: Operation, targets: list[str], values: tuple[Operand, ...]) -> None:
        if targets:
            self._code.line(f"{', '.join(targets)}, = {self._uses(values)},", op)

    def _op_scf_if(self, op: Operation) -> None:
        targets = [self._fresh(result) for result in op.results]
        with self._code.block(f"if {self._use(op.operands[0])}:", op):
            self._nested(_body(op.regions[0]), targets)
        if len(op.regions) > 1:
            with self._code.block("else:"):
                self._nested(_body(op.regions[1]), targets)

    def _op_scf_while(self, op: Operation) -> None:
        before, after = (region.blocks[0] for region in op.regions)
        initial = self._uses(tuple(value for _, value in op.bindings))
        names = [self._fresh(name) for name, _ in op.bindings]
        if names:
            self._code.line(f"{', '.join(names)}, = {initial},", op)
        results = [self._fresh(result) for result in op.results]
        with self._code.block("while True:"):
            self._turn(op)
            for inner in before.operations[:-1]:
                self._operation(inner)
            condition = before.operations[-1]
            self._settle(condition, results, condition.operands[1:])
            with self._code.block(f"if not {self._use(condition.operands[0])}:", condition):
                self._code.line("break")
            # Only now: the two regions may use the same names for different values.
            for argument, name in zip(after.arguments, results, strict=True):
                self._values[argument.name] = name
            self._nested(after, names)

    def _op_tt_call(self, op: Operation) -> None:
        callee = op.symbols[0]
        if callee not in self._functions:
            raise unsupported(f"call of unknown function @{callee}")
        # Looked up when it is called: it may not have been compiled yet.
        name = f"{self._bind('f', self._functions)}[{callee!r}]"
        self._call(op, name, op.operands)

    def _call(self, op: Operation, name: str, operands: tuple[Operand, ...]) -> None:
        arguments = self._uses(operands)
        call = f"{name}(cta, {arguments})" if arguments else f"{name}(cta)"
        self._assign(op, call if self._sites is None else f"(yield from {call})")

    def _op_ttg_warp_specialize(self, op: Operation) -> None:
        if self._sites is None:
            raise unsupported("partitions run on the checked machine only")
        captured = self._uses(op.operands)
        parts: list[str] = []
        warps = op.labelled.get("num_warps", ())
        for index, region in enumerate(op.regions[1:]):
            name = self._part(f"partition{index}", region)[0]
            parts.append(f"('partition{index}', {warps[index]}, {name}, ({captured},))")
        self._at(op)
        self._code.line(f"cta.fork(({', '.join(parts)},))", op)
        self._call(op, *self._part("default", op.regions[0], self._values))
        self._at(op)
        self._code.line("yield from cta.join()", op)

    def _part(
        self, name: str, region: Region, around: Container[str] = ()
    ) -> tuple[str, tuple[str, ...]]:
        """Return the name of a region as a function, and what is to be handed over to it."""
        sites = self._sites
        assert sites is not None

        def make(region: Region) -> _Part:
            return _FunctionWriter(self._functions, sites.fresh(), around).partition(name, region)

        # What calls others is not made of its region alone.
        reuse = sites.reuse if len(self._functions) == 1 else None
        part = reuse(region, make, (name, sites.ctas)) if reuse else make(region)
        sites.synchronising.extend(part.sites)
        return self._bind("p", part.function), part.values

    def _returns(self, op: Operation) -> None:
        self._code.line(f"return {self._uses(op.operands)}".rstrip(), op)

    _op_tt_return = _returns
    _op_tt_reduce_return = _returns
    _op_tt_scan_return = _returns
    _op_tt_map_elementwise_return = _returns
    _op_ttg_warp_return = _returns
    _op_ttg_warp_yield = _returns


class _Regions:
    """Compiles regions of scalar operations for handlers."""

    def __init__(self, functions: dict[str, Callable[..., Any]]) -> None:
        self._functions = functions

    def elementwise(self, region: Region) -> Callable[..., Any]:
        """Return the region as a function of whole tensors."""
        return _FunctionWriter(self._functions).combiner(region)


def _body(region: Region) -> Block:
    """Return the only block of a region; one without operations is not printed at all."""
    return region.blocks[0] if region.blocks else Block("", (), ())


def _lifted(op: Operation) -> Operation:
    """Return a scalar operation as one on tensors, so that its handler picks torch's function."""
    return replace(
        op,
        operand_types=tuple(_lifted_type(kind) for kind in op.operand_types),
        result_types=tuple(_lifted_type(kind) for kind in op.result_types),
    )


def _lifted_type(kind: Type) -> Type:
    return TensorType((), kind) if isinstance(kind, ScalarType) else kind


class Sites:
    """Numbers the operations of a module that may turn out to be redundant.

    Args:
        ctas: of a program of the module.
        noted: whether the machine is told every operation, those between registers too.
        reuse: remembers partitions, for other texts that have them in common.
    """

    def __init__(self, ctas: int = 1, *, noted: bool = False, reuse: Reuse | None = None) -> None:
        self.ctas = ctas
        self.noted = noted
        self.reuse = reuse
        self.synchronising: list[Site] = []

    def fresh(self) -> Sites:
        """Return the same without any operation."""
        return Sites(self.ctas, noted=self.noted, reuse=self.reuse)

    def site(self, op: Operation) -> Site:
        """Return the site of an operation."""
        if op.name not in SYNCHRONISING:
            return Site(op)
        site = Site(op, next(_NUMBERS))
        self.synchronising.append(site)
        return site


def transpile(module: Module, sites: Sites | None = None) -> Callable[..., Any]:
    """Return the kernel of a module as a function of a machine and the kernel's arguments.

    Args:
        module: the parsed text.
        sites: takes the synchronising operations; the function is a generator for the checked
            machine then, and a plain function of a `Cta` without.

    Raises:
        VirtualGpuError: an operation, attribute or type is not supported; the finding names it.
    """
    functions: dict[str, Callable[..., Any]] = {f.name: _missing for f in module.functions}
    for function in module.functions:
        functions[function.name] = _FunctionWriter(functions, sites).function(function)
    return functions[module.kernel.name]


def _missing(*_: Any) -> None:
    """Stand in for a function that has not been compiled."""
    raise RuntimeError("a function is called before it is compiled")


def operation_at(error: BaseException) -> Operation | None:
    """Return the operation whose line of generated code an exception passed last."""
    found: Operation | None = None
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(f"<{OPERATIONS}"):
            table: list[Operation | None] = trace.tb_frame.f_globals[file[1:-1]]
            found = table[trace.tb_lineno] or found
        trace = trace.tb_next
    return found
