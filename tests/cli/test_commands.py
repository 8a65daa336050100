"""Every command, with text for people and JSON for programs; exit codes 0, 1 and 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen import __version__
from flash4gen.cli import options
from flash4gen.diagnostics import Code
from flash4gen.ir import library
from tests.cli.running import SPEC, contents, earlier_outputs, flash4gen

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.attn"
    path.write_text(SPEC)
    return path


def test_check_says_what_it_read(small: Path) -> None:
    ended = flash4gen("check", small)
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout == f"{small}: attention small, no errors for b200\n"


def test_check_as_json(small: Path) -> None:
    content = {"attentions": ["small"], "hardware": [], "models": []}
    read = {"path": str(small), "ok": True, "targets": ["b200"], **content}
    document = {"ok": True, "specs": [read], "diagnostics": []}
    assert flash4gen("check", small, "--format", "json").document == document


def test_check_says_what_a_target_cannot_do(tmp_path: Path) -> None:
    path = tmp_path / "eight.attn"
    path.write_text("attention eight { dtype = fp8_e4m3\n heads = 2\n head_dim = 64 }")
    assert flash4gen("check", path).stdout == f"{path}: attention eight, no errors\n"
    refused = flash4gen("check", path, "--target", "a100", "--target", "h100", "--format", "json")
    assert (refused.code, refused.codes) == (1, [Code.NO_DTYPE])
    path.write_text(SPEC.replace("portable", "blackwell").replace("b200", "h100"))
    assert flash4gen("check", path, "--format", "json").codes == [Code.PIN_FAMILY]
    assert flash4gen("check", path, "--target", "b100").code == 1


def test_check_fresh_without_a_target(tmp_path: Path) -> None:
    """A spec that names none is compared for the targets of its modules, or passed over."""
    for name in ("first", "second"):
        text = SPEC.replace("small", name).replace("target   = b200", "")
        (tmp_path / f"{name}.attn").write_text(text)
    (tmp_path / "card.attn").write_text('hardware card extends b200 { sms = 132 from "a guess" }')
    compare = ("compile", "--check", tmp_path, "-o", tmp_path / "out")
    nothing = flash4gen(*compare)
    assert nothing.code == 1
    assert "nothing was compared" in nothing.stderr
    earlier_outputs(tmp_path / "out", "first", "h100")
    ended = flash4gen(*compare)
    assert ended.code == 1
    assert "h100/first.py is not what the spec compiles to now" in ended.stderr
    assert "1 error" in ended.stderr
    assert f"{tmp_path / 'second.attn'}: names no target of its own, and has no" in ended.stdout
    assert f"{tmp_path / 'card.attn'}: nothing in it to compile" in ended.stdout


MODEL = 'use "small.attn"\nmodel whole { layers 2 = repeat small }\n'


def test_check_fresh_of_a_model_whose_layers_another_file_compiles(
    small: Path, tmp_path: Path
) -> None:
    """Their modules do not mean that the model was compiled; its index does, for one target too."""
    model, out = tmp_path / "whole.attn", tmp_path / "out"
    model.write_text(MODEL)
    small.write_text(SPEC.replace("= b200", "= b200, h100"))
    earlier_outputs(out, "small", "b200")
    never = flash4gen("compile", "--check", model, "-o", out)
    assert (never.code, "nothing was compared" in never.stderr) == (1, True)
    assert f"{model}: names no target of its own, and has no module" in never.stdout
    asked = flash4gen("compile", "--check", model, "-o", out, "--target", "b200")
    assert f"{out / 'b200' / 'whole.py'} does not exist" in asked.stderr
    earlier_outputs(out, "whole", "b200")
    once = flash4gen("compile", "--check", model, "-o", out)
    assert "b200/whole.py is not what the spec compiles to now" in once.stderr
    assert f"{out / 'h100' / 'whole.py'} does not exist" in once.stderr
    model.write_text(SPEC + MODEL.partition("\n")[2])  # a layer of the file itself: one compile
    own = flash4gen("compile", "--check", model, "-o", tmp_path / "other")
    assert f"{tmp_path / 'other' / 'b200' / 'whole.py'} does not exist" in own.stderr


def test_a_shipped_spec_goes_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert flash4gen("check", "llama3_8b").code == 0
    assert options.spec_path("llama3_8b") == library.spec_path("llama3_8b")
    (tmp_path / "llama3_8b").write_text(SPEC)  # a file goes before a name
    assert "attention small" in flash4gen("check", "llama3_8b").stdout


def test_explain_tells_the_schedule_and_why(small: Path) -> None:
    ended = flash4gen("explain", small, "--target", "rtx5090", "--target", "b200")
    assert ended.code == 0
    assert ended.stdout.startswith("small on rtx5090")
    for told in ("small on b200", "tile_q", "runners-up", "rejected"):
        assert told in ended.stdout


def test_explain_as_json(small: Path) -> None:
    (schedule,) = flash4gen("explain", small, "--format", "json").document["schedules"]
    assert (schedule["attention"], schedule["target"]) == ("small", "b200")
    assert {item["field"] for item in schedule["decisions"]} >= {"tile_q", "tile_k", "warps"}


def test_explain_tells_what_a_code_means() -> None:
    ended = flash4gen("explain", "f4g203")
    assert ended.code == 0
    assert Code.UNKNOWN_FUNCTION.meaning in ended.stdout
    document = flash4gen("explain", "F4G203", "--format", "json").document
    assert document["meaning"] == Code.UNKNOWN_FUNCTION.meaning


@pytest.mark.parametrize("code", list(Code))
def test_every_code_can_be_explained(code: Code) -> None:
    told = flash4gen("explain", code).stdout
    assert told.startswith(f"# {code}: {code.meaning}")
    assert "What to do" in told


def test_list_specs() -> None:
    ended = flash4gen("list", "specs")
    assert ended.code == 0
    listed = flash4gen("list", "specs", "--format", "json").document["specs"]
    assert {item["name"] for item in listed} >= {"gemma2_9b_local", "llama3_8b"}
    assert all(item["name"] in ended.stdout for item in listed)


def test_list_models() -> None:
    ended = flash4gen("list", "models")
    assert ended.code == 0
    listed = flash4gen("list", "models", "--format", "json").document["models"]
    assert [item["name"] for item in listed] == list(library.model_names())
    assert all(item["name"] in ended.stdout for item in listed)
    assert flash4gen("check", "gemma3_27b").code == 0


def test_list_targets() -> None:
    ended = flash4gen("list", "targets")
    assert ended.code == 0
    listed = flash4gen("list", "targets", "--format", "json").document["targets"]
    assert [item["name"] for item in listed] == list(library.target_names())
    assert all(item["sources"]["clock_mhz"] for item in listed)
    assert all(item["name"] in ended.stdout for item in listed)


def test_the_version() -> None:
    assert flash4gen("--version").stdout == f"flash4gen {__version__}\n"


def test_without_a_command_it_helps() -> None:
    ended = flash4gen()
    assert "Usage: flash4gen" in ended.stdout + ended.stderr
    for name in ("check", "compile", "validate", "explain", "list", "vgpu"):
        assert name in flash4gen("--help").stdout
        assert "Usage" in flash4gen(name, "--help").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("chek", "x.attn"),
        ("check",),
        ("check", "x.attn", "--colour"),
        ("check", "x.attn", "--format", "xml"),
        ("compile", "x.attn", "--emit", "ptx,elf"),
        ("compile", "x.attn", "--emit", ","),
        ("compile", "x.attn", "--emit", "ptx", "--check"),
        ("compile", "x.attn", "--template-dir", "no/such/folder"),
        ("explain", "F4G999"),
        ("explain",),
        ("list", "things"),
        ("vgpu", "walk", "x.py::f"),
        ("vgpu", "run"),
        ("vgpu", "run", "x.py::f", "--policy", "fastest"),
    ],
    ids=" ".join,
)
def test_a_command_line_that_makes_no_sense(arguments: tuple[str, ...]) -> None:
    ended = flash4gen(*arguments)
    assert ended.code == 2
    assert "Error: " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_compile_check_finds_what_is_missing_and_what_is_stale(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    missing = flash4gen("compile", small, "--check", "-o", out)
    assert missing.code == 1
    assert "does not exist" in missing.stderr
    assert not out.exists()

    before = earlier_outputs(out)
    stale = flash4gen("compile", small, "--check", "-o", out, "--format", "json")
    assert stale.code == 1
    assert stale.document["fresh"] == {str(small): False}
    assert "is not what the spec compiles to now" in stale.document["diagnostics"][0]["message"]
    assert contents(out) == before


def test_validate_refuses_what_is_stale(small: Path, tmp_path: Path) -> None:
    before = earlier_outputs(tmp_path / "out")
    ended = flash4gen("validate", small, "-o", tmp_path / "out")
    assert ended.code == 1
    assert "is not what the spec compiles to now" in ended.stderr
    assert contents(tmp_path / "out") == before


def test_what_is_no_text_is_stale_and_compiled_over(small: Path, tmp_path: Path) -> None:
    """Half-written or foreign files where the outputs go are no fault of ours."""
    out = tmp_path / "out"
    module, certificate = (out / "b200" / f"small{end}" for end in (".py", ".certificate.json"))
    module.parent.mkdir(parents=True)
    for file in (module, certificate):
        file.write_bytes(b"\xff\xfe\x00")
    asked = flash4gen("compile", small, "--check", "-o", out)
    assert (asked.code, "F4G802" in asked.stderr) == (1, True)
    assert f"run `flash4gen compile {small} --target b200 -o {out}`" in asked.stderr
    assert flash4gen("compile", small, "-o", out).code == 0
    assert flash4gen("compile", small, "--check", "-o", out).code == 0


def test_a_folder_where_a_module_should_be(small: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "b200" / "small.py").mkdir(parents=True)
    ended = flash4gen("compile", small, "--check", "-o", tmp_path / "out", "--format", "json")
    assert (ended.code, ended.codes) == (1, [Code.UNREADABLE])


def test_a_target_that_is_named_twice_is_compiled_for_once(small: Path) -> None:
    ended = flash4gen("explain", small, *(2 * ("--target", "h100")), "--format", "json")
    assert len(ended.document["schedules"]) == 1


@pytest.mark.parametrize("command", ["compile", "validate", "explain", "simulate", "tune"])
def test_a_file_with_nothing_to_compile_is_told_of(command: str, tmp_path: Path) -> None:
    file = tmp_path / "functions.attn"
    file.write_text("def half(x) = x / 2\n")
    ended = flash4gen(command, file)
    assert ended.code == 0
    assert "nothing" in ended.stdout


def test_a_folder_without_specs_and_one_in_place_of_a_spec(tmp_path: Path) -> None:
    assert "no `.attn` file is in it" in flash4gen("check", tmp_path).stderr
    assert "cannot read .: is a directory" in flash4gen("check", "").stderr  # and not all below
    (tmp_path / "small.attn").write_text(SPEC)
    assert f"name a file in it: {tmp_path / 'small.attn'}" in flash4gen("tune", tmp_path).stderr
