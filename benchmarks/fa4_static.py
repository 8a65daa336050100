"""FlashAttention-4 and this project, compiled side by side and compared by their SASS: no GPU.

    python3 -m venv .venv-fa4
    .venv-fa4/bin/pip install '.[fa4]'
    python -m benchmarks.fa4_static --fa4-python .venv-fa4/bin/python

FlashAttention-4 lives in an environment of its own, so that ours keeps its versions. All figures
are read from cubins that this run compiled, theirs by the same code as ours.

Ours are compiled from the specs below. `--ours causal=FILE` takes a spec or a generated module
instead.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.fa4_rows import COMPILE_AIM, COMPILE_REQUIRED, ROWS, measured, verdict
from flash4gen.build.facts import disassemble
from flash4gen.build.sass.analyse import analyse_sass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flash4gen.build.sass.model import KernelSass

ROOT = Path(__file__).parent.parent
RUNS = 3
TIMED = "causal"
SPEC = """\
attention {name} {{
    dtype    = bf16
    heads    = 32
    head_dim = 128
{lines}
    target   = {target}
    schedule {{ short_queries = 0 {pins} }}
}}
"""
"""FlashAttention-4 compiles one kernel, for two query tiles, and so does this side."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One kernel that both sides compile.

    Attributes:
        name: how rows refer to it.
        target, lines, pins: of our spec.
        arch, words: of FlashAttention-4.
    """

    name: str
    target: str
    lines: tuple[str, ...]
    arch: str
    words: tuple[str, ...]
    pins: str = ""

    @property
    def spec(self) -> str:
        """Our spec."""
        lines = "\n".join(f"    {line}" for line in self.lines)
        return SPEC.format(name=self.name, target=self.target, lines=lines, pins=self.pins)


CAUSAL, SOFTCAP = "mask     = causal(align = end)", "score    = softcap(s, 30)"
# FlashAttention-4 takes the approximate instruction, so this side does too; the default is exact.
APPROX = "tanh = approx"
VARIANTS = (
    Variant("full", "b200", (), "sm_100a", ()),
    Variant("causal", "b200", (CAUSAL,), "sm_100a", ("causal",)),
    Variant("softcap", "b200", (SOFTCAP, CAUSAL), "sm_100a", ("causal", "softcap"), APPROX),
    Variant("full_b300", "b300", (), "sm_103a", ()),
)


class CompileFailedError(Exception):
    """A compiler said no; its last lines."""


def compile_ours(variant: Variant, given: Path | None, scratch: Path) -> str:
    """Return the SASS of our kernel, compiled in a new process with an empty cache."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    env = {"TRITON_CACHE_DIR": str(folder / "cache")}
    if given is not None and given.suffix == ".py":
        return _process([sys.executable, "-m", "benchmarks.compile_module", str(given)], env)
    spec = given or folder / f"{variant.name}.attn"
    if given is None:
        spec.write_text(variant.spec, encoding="utf-8")
    options = ["--target", variant.target, "--no-validate", "--emit", "sass", "-o", str(folder)]
    _process([sys.executable, "-m", "flash4gen", "compile", str(spec), *options], env)
    (sass,) = (folder / variant.target).glob("*.sass")
    return sass.read_text(encoding="utf-8")


def compile_fa4(variant: Variant, python: Path, scratch: Path, *, keep: bool) -> str:
    """Return the SASS of FlashAttention-4's kernel, compiled likewise; empty unless kept."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    env = {
        "FLASH_ATTENTION_ARCH": variant.arch.rstrip("a"),
        "CUTE_DSL_ARCH": variant.arch,
        "FLASH_ATTENTION_NUM_SMS": "148",  # of a B200, and of a B300
        "CUTE_DSL_DISABLE_FILE_CACHING": "1",
        "CUTE_DSL_DUMP_DIR": str(folder),
        "CUTE_DSL_KEEP": "cubin" if keep else "",
    }
    script = ROOT / "benchmarks" / "fa4_compile.py"
    # -P: the script's folder has a module `numbers`, which the standard library has too.
    _process([str(python), "-P", str(script), *variant.words], env)
    if not keep:
        return ""
    (cubin,) = folder.glob("*.cubin")
    return disassemble(cubin.read_bytes())


def _process(command: Sequence[str], env: Mapping[str, str]) -> str:
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip().splitlines()
        raise CompileFailedError("\n".join(said[-6:]))
    return ended.stdout


def times(
    variant: Variant, given: Path | None, python: Path, scratch: Path
) -> tuple[list[float], list[float]]:
    """Return seconds of whole processes, ours and FlashAttention-4's, taken in turn."""
    ours, theirs = [], []
    for run in range(RUNS):
        print(f"timing {variant.name}, {run + 1} of {RUNS}", file=sys.stderr)
        start = time.perf_counter()
        compile_ours(variant, given, scratch)
        between = time.perf_counter()
        compile_fa4(variant, python, scratch, keep=False)
        ours.append(between - start)
        theirs.append(time.perf_counter() - between)
    return ours, theirs


def kernels(
    given: Mapping[str, Path], python: Path | None, scratch: Path, console: Console
) -> tuple[dict[str, KernelSass], dict[str, KernelSass]]:
    """Return what could be compiled, ours and FlashAttention-4's; say what could not, and why."""
    ours: dict[str, KernelSass] = {}
    theirs: dict[str, KernelSass] = {}
    for variant in VARIANTS:
        print(f"compiling {variant.name}", file=sys.stderr)
        try:
            ours[variant.name] = analyse_sass(
                compile_ours(variant, given.get(variant.name), scratch)
            )
        except CompileFailedError as error:
            console.print(f"ours, {variant.name}: {error}", markup=False)
        if python is not None:
            try:
                sass = compile_fa4(variant, python, scratch, keep=True)
                theirs[variant.name] = analyse_sass(sass)
            except CompileFailedError as error:
                console.print(f"FlashAttention-4, {variant.name}: {error}", markup=False)
    return ours, theirs


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile everything and print the table; 1 if a required figure is not reached."""
    options = _options(arguments)
    given = dict(options.ours)
    python: Path | None = options.fa4_python and options.fa4_python.absolute()
    console = Console(width=None if sys.stdout.isatty() else 150)
    with tempfile.TemporaryDirectory(prefix="flash4gen-fa4-") as folder:
        scratch = Path(folder)
        ours, theirs = kernels(given, python, scratch, console)
        seconds = None
        if python is not None and TIMED in ours and TIMED in theirs:
            (variant,) = (variant for variant in VARIANTS if variant.name == TIMED)
            seconds = times(variant, given.get(TIMED), python, scratch)
    shown, reached = _table(ours, theirs, seconds)
    console.print(shown)
    return int(not reached)


def _table(
    ours: Mapping[str, KernelSass],
    theirs: Mapping[str, KernelSass],
    seconds: tuple[list[float], list[float]] | None,
) -> tuple[Table, bool]:
    """Return the table, and whether all that is required is reached."""
    shown = Table(title="SASS of one turn of each role's loop, bf16, head_dim 128")
    for name in ("kernel", "what", "FlashAttention-4", "ours", "required", "aim", ""):
        shown.add_column(name, justify="right" if name in {"FlashAttention-4", "ours"} else "left")
    verdicts = []
    for row, own, other in zip(ROWS, measured(ROWS, ours), measured(ROWS, theirs), strict=True):
        verdicts.append(verdict(own, row.required, row.aim))
        limits = (str(row.required or ""), str(row.aim or ""))
        shown.add_row(row.variant, row.what, _number(other), _number(own), *limits, verdicts[-1])
    ratio = median(seconds[0]) / median(seconds[1]) if seconds else None
    verdicts.append(verdict(ratio, COMPILE_REQUIRED, COMPILE_AIM))
    own_times, other_times = map(_spread, seconds or ([], []))
    what = "cold compile, whole process, seconds; limits are of the ratio"
    if ratio is not None:
        what += f", {ratio:.2f}"
    limits = (str(COMPILE_REQUIRED), str(COMPILE_AIM))
    shown.add_row(TIMED, what, other_times, own_times, *limits, verdicts[-1])
    return shown, not {"not reached", "not measured"} & set(verdicts)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".removesuffix(".00")


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return "–"
    return f"{median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fa4_static",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fa4-python", type=Path, help="of an environment with flash-attn-4")
    parser.add_argument(
        "--ours",
        action="append",
        default=[],
        type=_replacement,
        metavar="VARIANT=FILE",
        help=f"spec or generated module of {', '.join(v.name for v in VARIANTS)}",
    )
    return parser.parse_args(arguments)


def _replacement(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not equals or name not in {variant.name for variant in VARIANTS}:
        raise argparse.ArgumentTypeError(f"{text!r} is not VARIANT=FILE")
    return name, Path(file).absolute()


if __name__ == "__main__":
    sys.exit(main())
