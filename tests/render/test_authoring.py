"""Starting files: each prints what the shipped template prints, and none covers another file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from flash4gen.driver import check_spec, plan_spec
from flash4gen.render.authoring import NoSuchTemplateError, kinds, names, starting_file
from flash4gen.render.contract import read_contract, shipped_templates
from flash4gen.render.module import render
from flash4gen.render.overrides import check_overrides
from flash4gen.render.reference import documented, reference_page
from tests.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.driver import Plan
    from tests.golden_files import Golden

SPEC = """
attention small {{
    dtype    = bf16
    heads    = 4
    head_dim = 64
    mask     = {mask}
    score    = {score}
    target   = {target}
}}
"""
DIGEST = re.compile(r"sha256:\w+|(?<=_)[0-9a-f]{8}\b")
MODULE = (ROOT / "templates" / "skeleton" / "module.py.j2").read_text(encoding="utf-8")
EVERY = [(kind, name) for kind in kinds()[:-1] for name in names(kind)]


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> list[Plan]:
    """Return plans that print most of the templates between them."""
    found: list[Plan] = []
    variants = [
        ("h100", "true", "s"),
        ("a100", "causal(align = end)", "softcap(s, 20)"),
        ("b200", "causal(align = end)", "s"),
        ("b300", "window(keys = 100)", "softcap(s, 20)"),
    ]
    for target, mask, score in variants:
        spec = tmp_path_factory.mktemp("specs") / "small.attn"
        spec.write_text(SPEC.format(target=target, mask=mask, score=score))
        chosen, problems = plan_spec(check_spec(spec))
        assert not problems
        found += chosen
    return found


def text(plan: Plan, *overrides: Path) -> str:
    made = render(plan.attention, plan.hardware, plan.choice, overrides).text
    lines = [line for line in made.splitlines() if not line.startswith("# templates ")]
    return DIGEST.sub("...", "\n".join(lines))


def write_all(folder: Path) -> None:
    for kind, name in EVERY:
        template, content = starting_file(kind, name)
        file = folder / template
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")


def test_a_directory_of_nothing_but_starting_files_prints_what_is_shipped(
    plans: list[Plan], tmp_path: Path
) -> None:
    write_all(tmp_path)
    assert check_overrides([tmp_path]) == ()
    assert len(list(tmp_path.rglob("*.j2"))) == len(shipped_templates())
    for plan in plans:
        assert text(plan, tmp_path) == text(plan)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_starting_file_has_the_head_and_the_macros_of_what_it_overrides(
    kind: str, name: str
) -> None:
    template, content = starting_file(kind, name)
    own, shipped = read_contract(content), shipped_templates()[template]
    assert own.kind == shipped.kind
    assert own.fields["api"] == ("1",)
    if own.kind == "skeleton":
        assert set(own.blocks) <= {*shipped.blocks, *read_contract(MODULE).blocks}
        return
    assert [*own.macros] == [*shipped.macros]
    assert [one.parameters for one in own.signatures] == [
        one.parameters for one in shipped.signatures
    ]


def test_a_concern_of_ones_own_has_a_place_of_its_own() -> None:
    template, content = starting_file("concern", "clip")
    assert template == "concern/clip/plain.py.j2"
    assert [*read_contract(content).macros] == ["define", "call"]


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("sofmax", "online", "did you mean `softmax`?"),
        ("softmax", "onlin", "did you mean `online`?"),
        (
            "skeleton",
            "mine",
            "there is `blackwell_beside`, `blackwell_forward`, `blackwell_mixed`, "
            "`blackwell_training`, `module`, `portable_forward` or `portable_training`",
        ),
        ("concern", "softmax", "override one of `capped`, `online`"),
        ("concern", "../up", "letters, digits and _"),
    ],
)
def test_what_has_no_beginning_is_refused_with_what_there_is(
    kind: str, name: str, message: str
) -> None:
    with pytest.raises(NoSuchTemplateError) as refused:
        starting_file(kind, name)
    assert message in " ".join(refused.value.helps)


def test_the_reference_of_the_context_is_fresh(golden: Golden) -> None:
    """`flash4gen templates context` writes it; so does this test with --update-golden."""
    golden(ROOT / "docs" / "template_context.md", reference_page())


def test_the_reference_reads_docstrings_with_entries_that_go_on() -> None:
    class Example:
        """What it is,
        in two lines.

        Attributes:
            a, b: of both
                of them.
            c: alone.
        """

    found = documented(Example)
    assert found.about == "What it is, in two lines."
    assert found.fields == {"a": "of both of them.", "b": "of both of them.", "c": "alone."}
