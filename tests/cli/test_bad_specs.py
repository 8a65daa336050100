"""Every mistake in a spec ends with a diagnostic, exit code 1, and nothing overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.running import SPEC, contents, earlier_outputs, flash4gen

if TYPE_CHECKING:
    from pathlib import Path


def spec(**changes: str) -> str:
    """Return a spec with some fields changed or added."""
    lines = {line.split("=")[0].strip(): line for line in SPEC.splitlines() if "=" in line}
    lines.update({name: f"    {name} = {value}" for name, value in changes.items()})
    return "\n".join(["attention small {", *lines.values(), "}", ""])


MISTAKES: dict[str, tuple[str, str]] = {
    "unknown field": (spec(colour="3"), "F4G201"),
    "unknown name": (spec(score="s + wobble"), "F4G202"),
    "unknown function": (spec(score="softcup(s, 50)"), "F4G203"),
    "unknown target": (spec(target="b2000"), "F4G204"),
    "duplicate names": (SPEC + SPEC, "F4G205"),
    "duplicate field": (SPEC.replace("heads    = 4", "heads = 4\n    heads = 8"), "F4G205"),
    "wrong type": (spec(mask="q + k"), "F4G206"),
    "recursive def": ("def f(s) = f(s) + 1.0\n" + spec(score="f(s)"), "F4G208"),
    "heads not divisible": (spec(heads="7"), "F4G303"),
    "head_dim out of range": (spec(head_dim="520"), "F4G304"),
    "head_dim not in steps": (spec(head_dim="65"), "F4G304"),
    "zero scale": (spec(scale="0.0"), "F4G305"),
    "negative scale": (spec(scale="-0.5"), "F4G305"),
    "bare window": (spec(mask="window(4096)"), "F4G306"),
    "causal without align": (spec(mask="causal()"), "F4G307"),
    "unclosed block": (SPEC.replace("}", ""), "F4G102"),
    "empty file": ("", "F4G106"),
}
BINARY = bytes(range(256)) * 64


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_has_its_code_and_stops_the_compile(mistake: str, tmp_path: Path) -> None:
    text, code = MISTAKES[mistake]
    path, out = tmp_path / "bad.attn", tmp_path / "out"
    path.write_text(text)
    before = earlier_outputs(out)

    ended = flash4gen("compile", path, "--target", "b200", "-o", out, "--format", "json")

    assert ended.code == 1
    assert code in ended.codes
    assert not ended.document["ok"]
    assert ended.stderr == ""
    assert contents(out) == before


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_reads_well(mistake: str, tmp_path: Path) -> None:
    text, code = MISTAKES[mistake]
    path = tmp_path / "bad.attn"
    path.write_text(text)

    ended = flash4gen("check", path)

    assert ended.code == 1
    assert f"error[{code}]: " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "\x1b" not in ended.stderr
    assert ended.stdout == ""
    if text:
        assert f"--> {path}:" in ended.stderr


@pytest.mark.parametrize("command", ["check", "compile", "validate", "explain"])
def test_binary_junk_is_refused(command: str, tmp_path: Path) -> None:
    path = tmp_path / "junk.attn"
    path.write_bytes(BINARY)
    ended = flash4gen(command, path)
    assert ended.code == 1
    assert "error[F4G104]" in ended.stderr
    assert all(char.isprintable() or char == "\n" for char in ended.stderr)


def test_a_missing_file_is_named_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "gemma.attn").write_text(SPEC)
    ended = flash4gen("check", tmp_path / "gema.attn")
    assert ended.code == 1
    assert "gema.attn: no such file" in ended.stderr
    assert "did you mean `gemma.attn`?" in ended.stderr


def test_a_mask_that_is_never_true_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "dark.attn"
    path.write_text(spec(mask="k < q and k > q"))
    ended = flash4gen("check", path)
    assert ended.code == 0
    assert "warning[F4G308]" in ended.stderr
    assert ended.stderr.endswith("1 warning\n")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.attn"
    path.write_text(spec(heads="7", scale="0.0", colour="3"))
    ended = flash4gen("check", path, "--format", "json")
    assert {"F4G303", "F4G305", "F4G201"} <= set(ended.codes)


@pytest.mark.parametrize("command", ["compile", "explain", "validate"])
def test_an_unknown_target_of_the_command_line(command: str, tmp_path: Path) -> None:
    path = tmp_path / "small.attn"
    path.write_text(SPEC)
    ended = flash4gen(command, path, "--target", "b20", "--format", "json")
    assert ended.code == 1
    assert ended.codes == ["F4G204"]
    assert ended.document["diagnostics"][0]["helps"] == ["did you mean `b200`?"]


def test_one_bad_spec_among_several_stops_all(tmp_path: Path) -> None:
    good, bad, out = tmp_path / "good.attn", tmp_path / "bad.attn", tmp_path / "out"
    good.write_text(SPEC)
    bad.write_text(spec(scale="0.0"))
    before = earlier_outputs(out)
    ended = flash4gen("compile", good, bad, "-o", out)
    assert ended.code == 1
    assert contents(out) == before


def test_two_specs_that_would_write_the_same_file(tmp_path: Path) -> None:
    one, two = tmp_path / "one.attn", tmp_path / "two.attn"
    one.write_text(SPEC)
    for text in (
        SPEC,
        f"{SPEC.replace('small', 'layer')} model small {{ layers 2 = repeat layer }}",
    ):
        two.write_text(text)
        ended = flash4gen("compile", one, two, "-o", tmp_path / "o")
        assert ended.code == 1
        assert "error[F4G205]: `small` is defined in two specs" in ended.stderr
        assert not (tmp_path / "o").exists()
