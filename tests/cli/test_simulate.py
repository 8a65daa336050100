"""`flash4gen simulate`: what it prints, the files it writes, and what it refuses."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.cli.running import SPEC as PORTABLE
from tests.cli.running import Ended, contents, flash4gen
from tests.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """\
attention narrow {
    dtype    = bf16
    heads    = 8
    head_dim = 64
    mask     = causal(align = end)
    target   = b200, b300
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("simulate")
    (found / "narrow.attn").write_text(SPEC, encoding="utf-8")
    (found / "small.attn").write_text(PORTABLE, encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def narrow(folder: Path) -> Ended:
    files = ("--trace", folder / "narrow.json", "--html", folder / "narrow.html")
    ended = flash4gen("simulate", folder / "narrow.attn", "--seeds", "2", "-o", folder, *files)
    assert ended.code == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, object]:
    options = ("--seq", "4096", "--batch", "2", "--seeds", "2", "--format", "json")
    ended = flash4gen("simulate", folder / "narrow.attn", "-o", folder, *options)
    assert ended.code == 0
    (found,) = ended.document["simulated"]
    return dict(found)


def test_text_says_how_long_and_that_it_is_modelled(narrow: Ended) -> None:
    lines = narrow.stdout.splitlines()
    assert "narrow for b200" in lines[1]
    assert lines[1].endswith("modelled, not measured")
    starts = [line.split()[0] for line in lines if line.startswith("  ")]
    assert {"module", "schedule", "ends*", "launch", "whole*", "burst*", "nominal*"} <= set(starts)
    assert "cycles (" in narrow.stdout  # the range of the seeds
    assert "* modelled" in narrow.stdout


def test_text_names_units_and_the_lines_that_wait(narrow: Ended) -> None:
    table = narrow.stdout.partition("units, share of")[2].partition("\n\n")[0]
    units = [line for line in table.splitlines() if line.startswith(("tensor", "mufu"))]
    assert len(units) == 2
    assert all("%" in line for line in units)
    waits = narrow.stdout.partition("where roles wait")[2]
    assert "mbarrier.wait(bars." in waits
    assert "s_full[0]" in narrow.stdout


def test_of_several_targets_the_first_is_taken(narrow: Ended) -> None:
    assert "b300" not in narrow.stdout


def test_files_are_written_and_named(folder: Path, narrow: Ended) -> None:
    assert f"written: {folder / 'narrow.json'}" in narrow.stdout
    assert json.loads((folder / "narrow.json").read_text(encoding="utf-8"))["traceEvents"]
    page = (folder / "narrow.html").read_text(encoding="utf-8")
    assert "narrow on b200" in page
    assert "There is none of this very module" in page
    assert not (folder / "b200").exists()  # no module is written


def test_the_numbers_of_the_document_agree(document: dict[str, object]) -> None:
    modelled = document["modelled"]
    assert isinstance(modelled, dict)
    assert document["launch"] == {
        "batch": 2, "heads": 8, "kv_heads": 8, "queries": 4096, "keys": 4096
    }  # fmt: skip
    assert modelled["operations"] == pytest.approx(4 * 2 * 8 * 64 * 4096**2 / 2, rel=0.01)
    burst = modelled["speeds"][0]
    assert burst["seconds"] == pytest.approx(modelled["whole"]["cycles"] / (burst["mhz"] * 1e6))
    assert burst["tflops"] == pytest.approx(modelled["operations"] / burst["seconds"] / 1e12)
    total = sum(stage["cycles"] for stage in modelled["path"])
    assert total == pytest.approx(modelled["turn"]["cycles"] * modelled["residents"], rel=0.02)
    for reach in (modelled["spread"]["turn_cycles"], *modelled["spread"]["tflops"]):
        assert reach["low"] <= reach["mean"] <= reach["high"]


def test_no_unit_is_waited_for_longer_than_the_kernel_takes(document: dict[str, object]) -> None:
    modelled = document["modelled"]
    assert isinstance(modelled, dict)
    limits = {limit["unit"]: limit["tflops"] for limit in modelled["limits"]}
    assert {"tensor", "mufu", "fma", "smem", "tmem", "l2", "hbm"} <= limits.keys()
    assert min(limits.values()) >= 0.999 * modelled["turn"]["tflops_nominal"]


def test_a_fresh_module_is_simulated_with_its_certificate(folder: Path, tmp_path: Path) -> None:
    spec = folder / "small.attn"
    assert flash4gen("compile", spec, "-o", tmp_path).code == 0
    before = contents(tmp_path)
    ended = flash4gen("simulate", spec, "-o", tmp_path, "--html", folder / "small.html")
    assert "(fresh)" in ended.stdout
    assert contents(tmp_path) == before
    page = (folder / "small.html").read_text(encoding="utf-8")
    assert '<td class="k passed">passed</td>' in page
    (tmp_path / "b200" / "small.py").write_text("stale\n", encoding="utf-8")
    ended = flash4gen("simulate", spec, "-o", tmp_path)
    assert ended.code == 0
    assert "(stale:" in ended.stdout


def test_without_jitter_there_is_no_range(folder: Path) -> None:
    ended = flash4gen("simulate", folder / "small.attn", "-o", folder, "--jitter", "0")
    assert ended.code == 0
    assert "cycles (" not in ended.stdout
    assert "latencies off" not in ended.stdout


def test_a_target_without_constants_is_refused_before_anything_is_compiled(
    tmp_path: Path,
) -> None:
    shipped = (ROOT / "specs" / "targets" / "a100.attn").read_text(encoding="utf-8")
    text, count = re.subn(
        r"(arch += )80", r"\g<1>89", shipped.replace("hardware a100", "hardware ada")
    )
    assert count == 1
    spec = tmp_path / "small.attn"
    spec.write_text(text + PORTABLE.replace("b200", "ada"), encoding="utf-8")
    ended = flash4gen("simulate", spec, "--format", "json")
    assert ended.code == 1
    assert ended.codes == ["F4G703"]
    (found,) = ended.document["diagnostics"]
    assert "sm_89" in found["notes"][0]
    assert ended.document["simulated"] == []
    assert "compile" not in flash4gen("simulate", spec).stderr


def test_each_attention_gets_files_of_its_own(tmp_path: Path) -> None:
    spec = tmp_path / "two.attn"
    spec.write_text(PORTABLE + PORTABLE.replace("small", "other"), encoding="utf-8")
    ended = flash4gen("simulate", spec, "--seeds", "1", "--trace", tmp_path / "t.json")
    assert ended.code == 0
    assert (tmp_path / "t.small.json").is_file()
    assert (tmp_path / "t.other.json").is_file()


@pytest.mark.parametrize(
    "options", [("--seq", "0"), ("--jitter", "2"), ("--seeds", "0"), ("--batch", "none")]
)
def test_what_makes_no_sense_is_refused(folder: Path, options: tuple[str, str]) -> None:
    assert flash4gen("simulate", folder / "small.attn", *options).code == 2


def test_an_unknown_target_is_named(folder: Path) -> None:
    ended = flash4gen("simulate", folder / "small.attn", "--target", "b2000", "--format", "json")
    assert ended.code == 1
    assert ended.codes == ["F4G204"]


def test_a_file_that_cannot_be_written_is_a_finding_beside_the_times(folder: Path) -> None:
    blocked = folder / "small.attn" / "page.html"
    ended = flash4gen("simulate", folder / "small.attn", "-o", folder, "--html", blocked)
    assert ended.code == 1
    assert f"error[F4G801]: cannot write {blocked}" in ended.stderr
    assert "written:" not in ended.stdout
    assert "cycles" in ended.stdout


def test_lengths_of_packed_sequences(folder: Path) -> None:
    spec = folder / "packed.attn"
    spec.write_text(SPEC.replace("heads    = 8", "heads = 8\n    lengths = packed"))
    asked = ("--lengths", "4096,2x300:1024", "--seeds", "1", "--format", "json")
    ended = flash4gen("simulate", spec, "-o", folder, *asked)
    assert ended.code == 0, ended.stderr
    (found,) = ended.document["simulated"]
    assert found["launch"]["lengths"] == [[4096, 4096], [300, 1024], [300, 1024]]
    text = flash4gen("simulate", spec, "-o", folder, "--seq", "1024", "--seeds", "1").stdout
    assert "8 sequences, packed" in text
    assert "8,192 queries and 8,192 keys in all, at most 1,024 and 1,024" in " ".join(text.split())


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        (("--lengths", "4096,1024"), 1, "F4G704"),
        (("--lengths", "4096,many"), 2, "is no length"),
        (("--lengths", "0:4096"), 2, "takes no time"),
        (("--lengths", "99999x1:16"), 2, "65,536"),
        (("--lengths", "4096", "--seq", "4096"), 2, "leave these out"),
    ],
)
def test_lengths_that_make_no_sense(
    folder: Path, asked: tuple[str, ...], code: int, said: str
) -> None:
    ended = flash4gen("simulate", folder / "narrow.attn", "-o", folder, *asked)
    assert ended.code == code
    assert said in ended.stderr
