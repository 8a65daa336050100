"""The whole way from Python: what is written, when nothing is, and what happens to spills."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from flash4gen.build import compile as build_compile
from flash4gen.diagnostics import Findings
from flash4gen.diagnostics.codes import Code
from flash4gen.driver import EMITTED, Event, StageError, build, check_fresh, compile_spec, plan_spec
from flash4gen.driver.build import Built
from flash4gen.driver.model import emitted_for
from flash4gen.driver.plan import check_spec
from flash4gen.ir import library
from tests.project import ROOT

if TYPE_CHECKING:
    from flash4gen.build.artefact import Artefact
    from flash4gen.driver import Plan
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention

SPEC = """
attention tiny {
    dtype    = fp16
    heads    = 2
    kv_heads = 1
    head_dim = 32
    mask     = causal(align = end)
    target   = a100
}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.attn"
    file.write_text(SPEC, encoding="utf-8")
    return file


def test_compile_writes_the_module_its_certificate_and_what_was_asked_for(
    spec: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    result = compile_spec(
        spec, out=tmp_path / "out", emit=["ttgir", "cubin"], progress=events.append
    )
    assert result.ok, result.diagnostics
    written = sorted(path.name for path in (tmp_path / "out" / "a100").iterdir())
    assert written == ["tiny.certificate.json", "tiny.cubin", "tiny.py", "tiny.ttgir"]
    assert result.modules[0].changed
    assert [e.stage for e in events if e.done] == [
        "check",
        "schedule",
        "render",
        "compile",
        "validate",
    ]
    assert check_fresh(spec, out=tmp_path / "out") == ()


def test_arguments_as_people_write_them(spec: Path, tmp_path: Path) -> None:
    """One target as a text, folders as texts; what cannot be written is no silent nothing."""
    out = tmp_path / "out"
    found = compile_spec(
        spec, targets="h100", out=out, template_dirs=[str(tmp_path)], validate=False
    )
    assert found.ok, found.diagnostics
    assert [str(module.path) for module in found.modules] == [str(out / "h100" / "tiny.py")]
    with pytest.raises(ValueError, match="emit: 'asm' is not one of ttgir"):
        compile_spec(spec, emit=["asm"])


def test_the_same_input_gives_the_same_bytes_and_changes_nothing(
    spec: Path, tmp_path: Path
) -> None:
    first = compile_spec(spec, out=tmp_path / "out", validate=False)
    again = compile_spec(spec, out=tmp_path / "out", validate=False)
    assert first.modules[0].changed
    assert not again.modules[0].changed


def test_an_edited_module_is_stale_and_the_difference_is_shown(spec: Path, tmp_path: Path) -> None:
    result = compile_spec(spec, out=tmp_path / "out", validate=False)
    module = result.modules[0].path
    module.write_text(module.read_text().replace("HEADS: Final = tl.constexpr(2)", "HEADS = 2"))
    (found,) = check_fresh(spec, out=tmp_path / "out")
    assert found.code == Code.STALE
    assert any("HEADS" in note for note in found.notes)


def spilling(monkeypatch: pytest.MonkeyPatch, spills: list[int]) -> list[Artefact]:
    """Let the compiles report these spills, one after the other."""
    real = build_compile.compile_module
    made: list[Artefact] = []

    def compile_module(
        path: Path, attention: Attention, hardware: Hardware, *, listed: bool
    ) -> Artefact:
        artefact = real(path, attention, hardware, listed=listed)
        facts = replace(artefact.facts, spill_bytes=spills[len(made)])
        made.append(replace(artefact, facts=facts))
        return made[-1]

    monkeypatch.setattr(build_compile, "compile_module", compile_module)
    return made


def test_a_schedule_that_spills_is_excluded_and_the_module_remembers_it(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = plan_spec(check_spec(spec))[0][0].choice
    spilling(monkeypatch, [64, 0])
    result = compile_spec(spec, out=tmp_path / "out", validate=False)
    (module,) = result.modules
    assert module.plan.choice.schedule == best.ranked[1].schedule
    assert "spills 64 bytes per thread" in module.rendered.text
    # nobody can see from the spec that the best schedule spilled: the header says it
    assert all(
        found.code != Code.STALE or "certificate" in found.message
        for found in check_fresh(spec, out=tmp_path / "out")
    )


def test_if_every_schedule_spills_the_smallest_spill_is_taken_with_a_warning(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = spilling(monkeypatch, [64, 32, 8, 16, 24, 40])
    result = compile_spec(spec, out=tmp_path / "out", validate=False)
    assert result.ok
    assert [found.code for found in result.diagnostics] == [Code.SPILLS]
    assert result.modules[0].artefact == made[2]


def test_what_was_tried_of_one_family_leaves_another_its_own_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four warp-specialised schedules spill, then portable ones do: six of these are compiled."""
    checked = check_spec(ROOT / "specs" / "full.attn")
    warped, portable = (plan_spec(checked, [name])[0][0] for name in ("b200", "h100"))
    assert warped.choice.schedule.family is not portable.choice.schedule.family
    wanted = iter([warped] * 3 + [replace(portable) for _ in range(20)])
    tried: list[Plan] = []

    def once(plan: Plan, *_: object) -> Built:
        tried.append(plan)
        artefact = SimpleNamespace(facts=SimpleNamespace(spill_bytes=64))
        return Built(plan, None, Path(), artefact)  # type: ignore[arg-type]  # nothing looks at them

    monkeypatch.setattr(build, "build_once", once)
    monkeypatch.setattr(build, "next_plan", lambda *_: replace(next(wanted)))
    monkeypatch.setattr(build, "spilled", lambda _: 64)
    for name in ("_beyond_limits", "_warn_of_spills"):
        monkeypatch.setattr(build, name, lambda *_: ())
    run = build.Run(Path(), (), lambda _: None)
    assert build.build_plan(warped, run, Path(), Findings()) is not None
    assert [plan.hardware.name for plan in tried] == ["b200"] * 4 + ["h100"] * 6


def test_over_a_limit_nothing_is_written(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = build_compile.compile_module

    def huge(path: Path, attention: Attention, hardware: Hardware, *, listed: bool) -> Artefact:
        artefact = real(path, attention, hardware, listed=listed)
        return replace(artefact, facts=replace(artefact.facts, smem_bytes=10**6))

    monkeypatch.setattr(build_compile, "compile_module", huge)
    result = compile_spec(spec, out=tmp_path / "out")
    assert not result.ok
    assert Code.OVER_LIMIT in {found.code for found in result.diagnostics}
    assert not (tmp_path / "out").exists()


def test_a_fault_of_ours_names_its_stage(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **_options: object) -> Artefact:
        raise ZeroDivisionError

    monkeypatch.setattr(build_compile, "compile_module", broken)
    with pytest.raises(StageError, match="stage compile of a100/tiny"):
        compile_spec(spec, out=tmp_path / "out")


def test_what_can_be_written_beside_a_module_depends_on_the_backend() -> None:
    wanted = ("ttgir", "ptx", "hsaco", "cubin", "amdgcn")
    assert emitted_for(library.target("a100"), wanted) == ("ttgir", "ptx", "cubin")
    assert emitted_for(library.target("mi300x"), wanted) == ("ttgir", "hsaco", "amdgcn")
    assert set(wanted) < set(EMITTED)
