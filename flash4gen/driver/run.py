"""The front doors: compile, validate and compare whole specs.

All outputs of a run are written at its end, or none: what was there before a failed compile is
there after it.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flash4gen.build.store import probe_folder, write_all
from flash4gen.diagnostics.collect import Findings
from flash4gen.diagnostics.disk import not_written
from flash4gen.driver.build import Built, Run, as_searched, build_plan, subject_of
from flash4gen.driver.fresh import compare_index, compare_plan
from flash4gen.driver.model import (
    EMITTED_FOR,
    Compared,
    CompileResult,
    Event,
    IndexPlan,
    IndexResult,
    ModuleResult,
    Plan,
    Progress,
    emitted_for,
    succeeded,
)
from flash4gen.driver.plan import check_spec, plan_indexes, plan_spec, without_borrowed
from flash4gen.render.index import render_index
from flash4gen.render.overrides import check_overrides
from flash4gen.schedule.model import Family

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash4gen.build.artefact import Artefact
    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.driver.plan import Unnamed
    from flash4gen.validate.certificate import Certificate

EMITTED = tuple(dict.fromkeys(kind for kinds in EMITTED_FOR.values() for kind in kinds))
"""What ``compile_spec`` can write beside a module."""
_ELSEWHERE = "choose another folder with --out"


def compile_spec(  # noqa: PLR0913 - the options of a front door
    path: str | Path,
    *,
    targets: Sequence[str] = (),
    out: Path | str = "generated",
    validate: bool = True,
    emit: Sequence[str] = (),
    template_dirs: Sequence[Path | str] = (),
    progress: Progress | None = None,
    mutate: bool = False,
    search: bool | None = False,
) -> CompileResult:
    """Compile a spec to modules, prove them, and write both.

    Args:
        path: the ``.attn`` file.
        targets: names of hardware items, or one; those that the spec names if empty.
        out: folder that gets ``<target>/<name>.py`` and ``<name>.certificate.json``.
        validate: climb the certificate's ladder; without it no certificate is written.
        emit: some of ``EMITTED``, written beside the module.
        template_dirs: searched before the shipped templates. Templates are code.
        progress: called at the beginning and end of every stage.
        mutate: check the concurrency checks too, by mutants of the kernel.
        search: run the best dozen of candidates on the clock; None: take what the module on disk
            says that a search has found.

    Raises:
        StageError: a fault of ours.
        ValueError: ``emit`` names what cannot be written.
    """
    if unknown := sorted(set(emit) - {*EMITTED}):
        raise ValueError(f"emit: {unknown[0]!r} is not one of {', '.join(EMITTED)}")
    run = Run(Path(out), _folders(template_dirs), progress or _silent, mutate)
    findings = Findings()
    results: list[ModuleResult] = []
    files: dict[Path, bytes] = {}
    plans, indexes = _planned(path, targets, run, findings, search=search)
    _probe([run.module_path(plan).parent for plan in plans], findings)
    with tempfile.TemporaryDirectory(prefix="flash4gen-") as scratch:
        for plan in plans if not findings.errors else ():
            built = build_plan(plan, run, Path(scratch) / plan.subject, findings)
            if built is None:
                continue
            certificate = _proven(built, run, findings) if validate else None
            result = _module(built, run, certificate)
            results.append(result)
            files |= _outputs(result, emit)
    made = [_index(plan, run) for plan in indexes] if not findings.errors else []
    files |= {index.path: index.text.encode() for index in made}
    changed = _written(files, findings) if not findings.errors else ()
    return CompileResult(
        tuple(replace(result, changed=result.path in changed) for result in results),
        findings.in_order(),
        tuple(replace(index, changed=index.path in changed) for index in made),
    )


def _module(built: Built, run: Run, certificate: Certificate | None) -> ModuleResult:
    return ModuleResult(
        plan=built.plan,
        rendered=built.rendered,
        path=run.module_path(built.plan),
        changed=False,
        artefact=built.artefact,
        certificate=certificate,
    )


def _folders(template_dirs: Sequence[Path | str]) -> tuple[Path, ...]:
    return tuple(Path(folder) for folder in template_dirs)


def _text(path: Path) -> str:
    """Return an earlier output, for what can be taken from it; nothing where that is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _index(plan: IndexPlan, run: Run) -> IndexResult:
    with run.stage("index", plan.subject) as details:
        text = render_index(plan.model, plan.hardware)
        details.append(f"{len(plan.model.layers)} layers")
    return IndexResult(plan, text, run.index_path(plan), changed=False)


def validate_spec(
    path: str | Path,
    *,
    targets: Sequence[str] = (),
    out: Path | str = "generated",
    template_dirs: Sequence[Path | str] = (),
    progress: Progress | None = None,
    mutate: bool = False,
) -> CompileResult:
    """Prove the modules that are on disk, which must be fresh, and rewrite their certificates."""
    run = Run(Path(out), _folders(template_dirs), _silent)
    stale = _compared(path, targets, run, certificates=False).diagnostics
    if not succeeded(stale):
        return CompileResult((), stale)
    return compile_spec(
        path,
        targets=targets,
        out=out,
        template_dirs=template_dirs,
        progress=progress,
        mutate=mutate,
        search=None,
    )


def check_fresh(
    path: str | Path,
    *,
    targets: Sequence[str] = (),
    out: Path | str = "generated",
    template_dirs: Sequence[Path | str] = (),
    certificates: bool = True,
) -> tuple[Diagnostic, ...]:
    """Return what differs between the outputs on disk and what the spec compiles to now.

    Texts are compared and nothing is run; neither torch nor Triton is imported.
    """
    return compare_spec(
        path, targets=targets, out=out, template_dirs=template_dirs, certificates=certificates
    ).diagnostics


def compare_spec(
    path: str | Path,
    *,
    targets: Sequence[str] = (),
    out: Path | str = "generated",
    template_dirs: Sequence[Path | str] = (),
    certificates: bool = True,
) -> Compared:
    """Compare as ``check_fresh`` does, and say how much there was to compare.

    What names no target is compared for the targets that it has modules for. A model whose targets
    are those of layers from other files is compared where it has an index for one of them.
    """
    run = Run(Path(out), _folders(template_dirs), _silent)
    return _compared(path, targets, run, certificates=certificates, by_disk=True)


def _compared(
    path: str | Path,
    targets: Sequence[str],
    run: Run,
    *,
    certificates: bool,
    by_disk: bool = False,
) -> Compared:
    findings = Findings()
    alone: list[str] = []

    def on_disk(name: str) -> Sequence[str]:
        found = run.targets_of(name)
        alone.extend([] if found or name in alone else [name])
        return found

    by_modules = on_disk if by_disk and not targets else None
    plans, indexes = _planned(path, targets, run, findings, unnamed=by_modules)
    for plan in plans:
        compare_plan(plan, run, findings, certificates=certificates)
    for index in indexes:
        compare_index(index, run, findings)
    return Compared(len(plans) + len(indexes), findings.in_order(), tuple(alone))


def _planned(
    path: str | Path,
    targets: Sequence[str],
    run: Run,
    findings: Findings,
    *,
    search: bool | None = False,
    unnamed: Unnamed | None = None,
) -> tuple[tuple[Plan, ...], tuple[IndexPlan, ...]]:
    """Check a spec and choose its schedules; no plan at all if anything is wrong."""
    name = Path(path).stem
    targets = (targets,) if isinstance(targets, str) else targets
    with run.stage("check", name) as details:
        checked = check_spec(path)
        findings.add(*checked.diagnostics)
        if not checked.ok:
            return (), ()
        details.append(f"{len(checked.attentions)} attention")
        checked = checked if unnamed is None else without_borrowed(checked, run.targets_of)
        findings.add(*check_overrides(run.template_dirs))
    with run.stage("schedule", name) as details:
        plans, problems = plan_spec(checked, targets, search=bool(search), unnamed=unnamed)
        if search is None:
            plans = tuple(as_searched(plan, _text(run.module_path(plan))) for plan in plans)
        findings.add(*problems)
        details.extend(
            f"{plan.hardware.name} {len(plan.choice.ranked)} fit, "
            f"{len(plan.choice.rejected)} rejected{_gain(plan)}"
            for plan in plans
        )
    indexes = plan_indexes(checked, targets, unnamed=unnamed)
    return (plans, indexes) if not findings.errors else ((), ())


def _gain(plan: Plan) -> str:
    """Return what a search has found, in brackets."""
    if not plan.searched or plan.choice.schedule.family is Family.PORTABLE:
        return ""
    found = plan.choice.searched
    return f" (searched: {found.gain:.2f}×, modelled)" if found else " (searched: nothing faster)"


def _proven(built: Built, run: Run, findings: Findings) -> Certificate:
    from flash4gen.validate.findings import findings as certificate_findings
    from flash4gen.validate.ladder import validate_module

    plan = built.plan
    with run.stage("validate", plan.subject) as details:
        certificate = validate_module(
            subject_of(built, run.template_dirs),
            lambda _rung, what: run.tell("validate", plan.subject, what),
            mutate=run.mutate,
        )
        details.append("passed" if certificate.passed else "failed")
    findings.add(*certificate_findings(certificate, plan.attention.span))
    return certificate


def _outputs(result: ModuleResult, emit: Sequence[str]) -> dict[Path, bytes]:
    files = {result.path: result.rendered.text.encode()}
    if result.certificate is not None:
        from flash4gen.validate.standing import standing

        name = result.path.with_suffix(".certificate.json")
        files[name] = standing(result.certificate, _text(name)).to_json().encode()
    if result.artefact is not None:
        for kind in emitted_for(result.plan.hardware, emit):
            for kernel, suffix in suffixed(result.artefact):
                content: str | bytes = getattr(kernel, kind)
                data = content if isinstance(content, bytes) else content.encode()
                files[result.path.with_suffix(f"{suffix}.{kind}")] = data
    return files


def suffixed(artefact: Artefact) -> list[tuple[Artefact, str]]:
    """Return a module's kernels, each with what its files have in their names besides."""
    backward = [
        (kernel, f".{kernel.kernel.strip('_').removesuffix('_kernel')}")
        for kernel in artefact.backward
    ]
    return [*zip(artefact.kernels, ("", ".short"), strict=False), *backward]


def _written(files: dict[Path, bytes], findings: Findings) -> tuple[Path, ...]:
    try:
        return write_all(files)
    except OSError as error:
        findings.add(not_written(error, _ELSEWHERE))
        return ()


def _probe(folders: Sequence[Path], findings: Findings) -> None:
    """Find out before the long stages whether the outputs can be written after them."""
    try:
        for folder in folders:
            probe_folder(folder)
    except OSError as error:
        findings.add(not_written(error, _ELSEWHERE))


def _silent(event: Event) -> None:
    del event
