"""`compile --search` from end to end: what was found stands in the module, and stays there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.driver import check_fresh, check_spec, compile_spec, plan_spec
from flash4gen.driver.build import recorded_plan
from flash4gen.driver.model import succeeded
from tests.cli.running import flash4gen

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """\
attention narrow {
    dtype    = bf16
    heads    = 8
    head_dim = 32
    mask     = causal(align = end)
    target   = b200
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("search")
    (made / "narrow.attn").write_text(SPEC, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def module(folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        made = compile_spec(folder / "narrow.attn", out=folder, validate=False, search=True)
    assert succeeded(made.diagnostics), made.diagnostics
    return folder / "b200" / "narrow.py"


def test_the_header_says_what_was_found(module: Path) -> None:
    lines = module.read_text().splitlines()
    (at,) = (n for n, line in enumerate(lines) if line.startswith("# searched   by --search, "))
    assert lines[at].endswith("times as fast as by the rules, modelled")
    assert lines[at + 1].startswith("# found      ")
    assert "early = 0" in lines[at + 1]


def test_it_is_fresh_without_a_clock(
    folder: Path, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flash4gen.schedule.blackwell import remembered

    monkeypatch.setattr(remembered, "steady", lambda *_: pytest.fail("the clock ran"))
    found = check_fresh(folder / "narrow.attn", out=folder, certificates=False)
    assert succeeded(found), found
    (plan,), _ = plan_spec(check_spec(folder / "narrow.attn"))
    again = recorded_plan(plan, module.read_text())
    assert again.choice.searched is not None
    assert again.choice != plan.choice


def test_a_proof_is_about_what_was_found_and_a_plain_compile_is_not(
    folder: Path, module: Path
) -> None:
    before = module.read_text()
    kept = compile_spec(folder / "narrow.attn", out=folder, validate=False, search=None)
    assert kept.modules[0].rendered.text == before
    plain = compile_spec(folder / "narrow.attn", out=folder / "plain", validate=False)
    assert "# searched" not in plain.modules[0].rendered.text


def test_a_header_that_was_tampered_with_is_not_fresh(folder: Path, module: Path) -> None:
    text = module.read_text()
    (folder / "other" / "b200").mkdir(parents=True)
    changed = folder / "other" / "b200" / "narrow.py"
    for old, new in ((" times as fast", "9 times as fast"), ("early = 0", "early = 96")):
        assert old in text
        changed.write_text(text.replace(old, new), encoding="utf-8")
        found = check_fresh(folder / "narrow.attn", out=folder / "other", certificates=False)
        assert not succeeded(found)


def test_explain_shows_what_ran(
    folder: Path, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.is_file()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    ended = flash4gen("explain", folder / "narrow.attn", "--search")
    assert ended.code == 0
    assert "a search on the clock: 12 of" in ended.stdout
    assert "what the rules make" in ended.stdout
    assert "a search on the clock" not in flash4gen("explain", folder / "narrow.attn").stdout


def test_check_and_search_exclude_each_other(folder: Path) -> None:
    ended = flash4gen("compile", folder / "narrow.attn", "--check", "--search")
    assert ended.code == 2
    assert "header" in ended.stderr
