"""The rules of templates, read from their syntax trees; and that users can override them.

A template prints what the schedule decided: it compares nothing, computes nothing, names no
architecture, and has no second opinion about what is undefined.
"""

from __future__ import annotations

import ast
import difflib
import re
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pytest
from jinja2 import Environment, StrictUndefined, nodes

from flash4gen.driver import Plan, check_spec, plan_spec
from flash4gen.render import (
    context,
    context_backward,
    context_blackwell,
    context_dropout,
    context_inputs,
    context_mixed,
    context_pipeline,
    context_rows,
    context_surround,
)
from flash4gen.render.context_types import TYPES
from flash4gen.render.environment import environment
from flash4gen.render.module import RenderedModule, render
from tests.project import ROOT, TEMPLATES, shown

if TYPE_CHECKING:
    from pathlib import Path

    from tests.golden_files import Golden

OVERRIDES = ROOT / "tests" / "overrides"
FILES = sorted(TEMPLATES.rglob("*.j2"))
ALL = [*FILES, *sorted(OVERRIDES.rglob("*.j2"))]

HEAD = re.compile(r"\{# (concern|shared|skeleton): [^|]+?((?: \| [a-z]+: [^|]+?)*) #\}")
ARCHITECTURE = re.compile(
    r"\b(sm_?\d+|[abh][123]00|gb?\d{3}|rtx\w*|ampere|hopper|blackwell|cdna\d?|gfx\d+)\b", re.I
)

CONTEXT_OF = {
    "backward/beside.py.j2": context_mixed.Beside,
    "backward/beside_launch.py.j2": context_pipeline.BesideLaunch,
    "backward/common.py.j2": context_backward.Common,
    "backward/convert.py.j2": context_backward.BackwardLaunch,
    "backward/eager.py.j2": context_backward.EagerTraining,
    "backward/eager_packed.py.j2": context_backward.EagerTraining,
    "backward/formula.py.j2": context_backward.EagerTraining,
    "backward/pipeline": context_pipeline.Pipeline,
    "backward/pipeline/gradients.py.j2": context_pipeline.ComputeRole,
    "backward/pipeline/scores.py.j2": context_pipeline.ComputeRole,
    "backward/pipeline/step.py.j2": context_pipeline.ComputeRole,
    "backward/pipeline/weights.py.j2": context_pipeline.ComputeRole,
    "backward/pipeline/mask.py.j2": context_pipeline.QueryMask,
    "backward/distances.py.j2": context_backward.DistanceGradient,
    "backward/interface.py.j2": context_backward.GradientInterface,
    "backward/key_steps.py.j2": context_backward.GradientLoop,
    "backward/keys.py.j2": context_backward.GradientLoop,
    "backward/kernels.py.j2": context_backward.Backward,
    "backward/launch.py.j2": context_backward.BackwardLaunch,
    "backward/pairs.py.j2": context_backward.PairGradient,
    "backward/queries.py.j2": context_backward.GradientLoop,
    "backward/query_steps.py.j2": context_backward.GradientLoop,
    "backward/spans.py.j2": context_backward.QuerySpans,
    "backward/surround.py.j2": context_surround.Surround,
    "backward/spread.py.j2": context_backward.BackwardLaunch,
    "concern/attend": context.Attend,
    "concern/cluster": context_blackwell.Specialised,
    "concern/correction": context_blackwell.Correction,
    "concern/epilogue": context.Epilogue,
    "concern/extents": context.Impl,
    "concern/operands": context.Impl,
    "concern/exp2": context_blackwell.Exponent,
    "concern/fetch": context_blackwell.Fetch,
    "concern/key_mask": context_blackwell.KeyMask,
    "concern/lengths": context_blackwell.Lengths,
    "concern/load": context.LoadText,
    "concern/mask": context.Mask,
    "concern/mma": context_blackwell.Mma,
    "concern/norm": context_rows.NormText,
    "concern/normalise": context_blackwell.Normalise,
    "concern/order": context.Impl,
    "concern/output": context_rows.OutputText,
    "concern/place": context.Impl,
    "concern/row_max": context_blackwell.RowMaximum,
    "concern/score": context.Score,
    "concern/sequences": context.Sequences,
    "concern/softmax": context.Softmax,
    "concern/softmax_role": context_blackwell.SoftmaxRole,
    "concern/store_role": context_blackwell.StoreRole,
    "concern/tensor_memory": context_blackwell.TensorMemory,
    "concern/weights": context.Epilogue,
    "concern/queue": context_blackwell.Work,
    "shared/arithmetic.py.j2": context.Arithmetic,
    "shared/checks.py.j2": context.Interface,
    "shared/host.py.j2": context.RenderContext,
    "shared/shapes.py.j2": context.Interface,
    "shared/constants.py.j2": context.Constants,
    "shared/copies.py.j2": context_blackwell.Fetch,
    "shared/dropout.py.j2": context_dropout.DropoutText,
    "shared/eager.py.j2": context.Eager,
    "shared/function.py.j2": context.Interface,
    "shared/handed.py.j2": context_inputs.Inputs,
    "shared/header.py.j2": context.Header,
    "shared/inputs.py.j2": context_inputs.Inputs,
    "shared/interface.py.j2": context.Interface,
    "shared/layout.py.j2": context.Impl,
    "shared/polynomial.py.j2": context.Impl,
    "shared/products.py.j2": context_blackwell.Mma,
    "shared/rows.py.j2": context_inputs.InputText,
    "shared/spans.py.j2": context_blackwell.Spans,
    "shared/launch.py.j2": context_blackwell.Specialised,
    "shared/sizes.py.j2": context.Launch,
    "shared/specialised.py.j2": context_blackwell.Specialised,
    "shared/predicate.py.j2": context.Mask,
    "shared/tiles.py.j2": context.Mask,
    "shared/reciprocal.py.j2": context.Impl,
    "shared/row_keys.py.j2": context_blackwell.KeyMask,
    "shared/words.py.j2": context.Impl,
}
"""What a macro's parameter `c` is, by folder or file."""

SKELETONS: dict[str, tuple[Any, ...]] = {
    "module": (context.RenderContext, context_blackwell.BlackwellContext),
    "portable_forward": (context.RenderContext,),
    "portable_training": (context_backward.TrainingContext,),
    "blackwell_forward": (context_blackwell.BlackwellContext,),
    "blackwell_training": (context_pipeline.PipelineContext,),
    "blackwell_mixed": (context_mixed.MixedContext,),
    "blackwell_beside": (context_mixed.BesideContext,),
}
"""What `ctx` may be in a skeleton: what all modules share reads either."""


def parsed(path: Path) -> nodes.Template:
    return environment().parse(path.read_text(encoding="utf-8"))


def head(path: Path) -> dict[str, list[str]]:
    """Return the contract in a template's first line: macros, needs, blocks, extends."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    match = HEAD.fullmatch(first)
    assert match, f"{shown(path)} does not open with its contract"
    parts = (part.split(": ", 1) for part in match[2].split(" | ") if part)
    return {name: [item.strip() for item in text.split(",")] for name, text in parts}


@pytest.mark.parametrize("path", ALL, ids=shown)
def test_a_template_opens_with_its_contract_and_keeps_it(path: Path) -> None:
    macros = {macro.name for macro in parsed(path).find_all(nodes.Macro)}
    assert sorted(head(path).get("macros", [])) == sorted(macros)


@pytest.mark.parametrize("folder", sorted((TEMPLATES / "concern").iterdir()), ids=shown)
def test_the_files_of_a_concern_can_stand_in_for_each_other(folder: Path) -> None:
    contracts = {tuple(head(path)["macros"]) for path in folder.glob("*.j2")}
    assert len(contracts) == 1


@pytest.mark.parametrize("path", ALL, ids=shown)
def test_a_template_decides_nothing(path: Path) -> None:
    banned = (nodes.Compare, nodes.Test, nodes.Assign, nodes.AssignBlock, nodes.CondExpr)
    arithmetic = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow)
    for node in parsed(path).find_all((*banned, *arithmetic)):
        # `x if y` without else prints something or nothing, which an if-block says as well.
        plain = isinstance(node, nodes.CondExpr) and node.expr2 is None
        assert plain, f"{shown(path)}:{node.lineno}: {type(node).__name__}"


@pytest.mark.parametrize("path", ALL, ids=shown)
def test_what_is_undefined_is_an_error(path: Path) -> None:
    assert environment().undefined is StrictUndefined
    for node in parsed(path).find_all(nodes.Filter):
        assert node.name not in {"default", "d"}, f"{shown(path)}:{node.lineno}"


@pytest.mark.parametrize("path", ALL, ids=shown)
def test_a_template_names_no_architecture(path: Path) -> None:
    found = ARCHITECTURE.search(path.read_text(encoding="utf-8"))
    assert found is None, f"{shown(path)} names {found and found[0]}"


def context_type(path: Path) -> Any:
    inside = path.relative_to(TEMPLATES).as_posix()
    return CONTEXT_OF.get(inside) or CONTEXT_OF[inside.rpartition("/")[0]]


@pytest.mark.parametrize(
    "path", [path for path in FILES if "skeleton" not in path.parts], ids=shown
)
def test_a_macro_reads_the_fields_that_its_contract_names(path: Path) -> None:
    known = {f"c.{field.name}" for field in fields(context_type(path))}
    read, handed_on = reads_of_c(path)
    needs = set(head(path).get("needs", []))
    assert read <= known, "the template reads fields that the context lacks"
    assert read <= needs, f"needs: {', '.join(sorted(needs | read))}"
    assert needs <= (known if handed_on else read), "the contract names what nothing reads"


def reads_of_c(path: Path) -> tuple[set[str], bool]:
    """Return the fields of `c` that a file reads, and whether it hands `c` on to other macros."""
    tree = parsed(path)
    chains = (dotted(node) for node in tree.find_all(nodes.Getattr))
    handed = [arg for call in tree.find_all(nodes.Call) for arg in call.args]
    return (
        {".".join(chain) for chain in chains if len(chain) == 2 and chain[0] == "c"},
        any(isinstance(arg, nodes.Name) and arg.name == "c" for arg in handed),
    )


@pytest.mark.parametrize("path", sorted((TEMPLATES / "skeleton").glob("*.j2")), ids=shown)
def test_a_skeleton_reads_fields_that_exist(path: Path) -> None:
    chains = [(node.lineno, dotted(node)) for node in parsed(path).find_all(nodes.Getattr)]
    read = [(line, chain) for line, chain in chains if chain and chain[0] == "ctx"]
    assert read
    for root in SKELETONS[path.name.partition(".")[0]]:
        for line, chain in read:
            assert names_a_field(root, chain[1:]), f"{shown(path)}:{line}: no {'.'.join(chain)}"


def names_a_field(kind: Any, names: list[str]) -> bool:
    """Whether a dataclass has a field of that name, and its type one of the next, to the end."""
    for name in names:
        hints = get_type_hints(kind, localns=TYPES) if is_dataclass(kind) else {}
        if name not in hints:
            return False
        kind = hints[name] if is_dataclass(hints[name]) else get_args(hints[name])
    return True


def dotted(node: nodes.Node) -> list[str]:
    """Return ``a.b.c`` as its parts; nothing if the expression is something else."""
    if isinstance(node, nodes.Name):
        return [node.name]
    if isinstance(node, nodes.Getattr) and (before := dotted(node.node)):
        return [*before, node.attr]
    return []


def test_the_lint_sees_what_it_forbids() -> None:
    """The checks above pass on templates that are right; these are wrong."""
    bad = Environment().parse("{% if a == 1 %}{% endif %}{{ x is defined }}{{ y|default(0) }}")
    assert len(list(bad.find_all((nodes.Compare, nodes.Test)))) == 2
    assert [node.name for node in bad.find_all(nodes.Filter)] == ["default"]
    assert ARCHITECTURE.search("for sm_90 only")
    assert ARCHITECTURE.search("on a B200")
    assert names_a_field(context_blackwell.BlackwellContext, ["mma", "walk", "count"])
    assert not names_a_field(context_blackwell.BlackwellContext, ["mma", "walk", "pace"])
    assert not names_a_field(context.RenderContext, ["mma"])


@pytest.fixture(scope="module")
def plan() -> Plan:
    plans, problems = plan_spec(check_spec(ROOT / "specs" / "llama3_8b.attn"), ["rtx5090"])
    assert not problems
    return plans[0]


def rendered(plan: Plan, *overrides: Path) -> RenderedModule:
    return render(plan.attention, plan.hardware, plan.choice, overrides)


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("commented_softmax", "# What follows is the shipped softmax; this line is not."),
        ("signed", "# A block can be extended too."),
    ],
)
def test_an_override_extends_what_it_overrides(plan: Plan, folder: str, line: str) -> None:
    plain, overridden = rendered(plan), rendered(plan, OVERRIDES / folder)
    ast.parse(overridden.text)
    added = set(overridden.text.splitlines()) - set(plain.text.splitlines())
    # Besides the line itself, only digests differ: in the header, and in the op's name.
    assert line in added
    assert all(text == line or "sha256:" in text or "custom_op" in text for text in added)


def test_a_concern_of_a_users_own_prints_what_its_golden_says(plan: Plan, golden: Golden) -> None:
    """All that differs from the shipped module but digests, which differ with every template."""
    plain, overridden = rendered(plan), rendered(plan, OVERRIDES / "guard")
    lines = difflib.unified_diff(plain.text.splitlines(), overridden.text.splitlines(), n=1)
    text = "\n".join(line.rstrip() for line in lines)
    text = re.sub(r"sha256:\w+|(?<=_)[0-9a-f]{8}\b", "...", text)
    golden("guard.diff", re.sub(r"^@@.*@@$", "@@", text, flags=re.MULTILINE) + "\n")


def test_an_override_is_part_of_the_provenance(plan: Plan) -> None:
    digests = {
        rendered(plan, *folders).provenance.templates
        for folders in ((), (OVERRIDES / "signed",), (OVERRIDES / "commented_softmax",))
    }
    assert len(digests) == 3


def test_the_same_templates_render_the_same_bytes(plan: Plan) -> None:
    assert rendered(plan).text == rendered(plan).text
