"""`use` and `extends`: what one file has of another, and what it has not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.driver import check_spec
from flash4gen.driver.plan import plan_spec
from flash4gen.ir import library

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.driver import Checked

ATTENTION = "attention {name} {{ dtype = bf16  heads = 4  head_dim = 64  {more} }}\n"


def attention(name: str, more: str = "") -> str:
    return ATTENTION.format(name=name, more=more)


def checked(folder: Path, **files: str) -> Checked:
    """Write files and read the first of them."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.attn"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return check_spec(folder / f"{next(iter(files)).replace('__', '/')}.attn")


def codes(result: Checked) -> list[str]:
    return [str(item.code) for item in result.diagnostics]


def test_a_used_function_means_what_it_means_in_its_own_file(tmp_path: Path) -> None:
    result = checked(
        tmp_path,
        main='use "a.attn"  def size() = 7\n' + attention("x", "mask = near"),
        a="def size() = 3  def near() = causal(align = end) and window(keys = size())".replace(
            "def size() = 3  def near", "def width() = 3  def near"
        ).replace("size()", "width()"),
    )
    alone = checked(tmp_path, alone=attention("x", "mask = causal(align = end) and window(keys=3)"))
    assert not result.diagnostics
    assert result.attentions[0].mask == alone.attentions[0].mask


def test_functions_of_the_using_file_are_not_seen(tmp_path: Path) -> None:
    result = checked(tmp_path, main='use "a.attn"  def size() = 7\n', a="def near() = k < size()")
    assert codes(result) == ["F4G203"]
    assert "a.attn" in str(result.diagnostics[0].primary and result.diagnostics[0].primary.span)


def test_what_a_file_uses_is_not_passed_on(tmp_path: Path) -> None:
    files = {
        "main": 'use "a.attn"\n' + attention("x", "mask = near"),
        "a": 'use "b.attn"\ndef far() = not near',
        "b": "def near() = k < 5",
    }
    assert codes(checked(tmp_path, **files)) == ["F4G202"]
    files["main"] = 'use "a.attn" use "b.attn"\n' + attention("x", "mask = near and not far")
    assert codes(checked(tmp_path, **files)) == []


def test_paths_start_at_the_file_that_names_them(tmp_path: Path) -> None:
    result = checked(
        tmp_path,
        deep__main='use "../shared/a.attn"\n' + attention("x", "mask = near"),
        shared__a='use "b.attn"  def near() = far',
        shared__b="def far() = k < 5",
    )
    assert not result.diagnostics


def test_one_file_by_two_ways_is_read_once(tmp_path: Path) -> None:
    result = checked(
        tmp_path,
        main='use "a.attn" use "b.attn"\n' + attention("x", "mask = near or far"),
        a='use "c.attn"  def near() = base',
        b='use "./c.attn"  def far() = not base',
        c="def base() = k < 5 + nonsense",
    )
    assert codes(result) == ["F4G202"]


def test_a_circle_is_told_with_its_whole_way(tmp_path: Path) -> None:
    result = checked(tmp_path, main='use "a.attn"', a='use "b.attn"', b='use "main.attn"')
    assert codes(result) == ["F4G805"]
    assert len(result.diagnostics[0].secondary) == 2


def test_a_missing_file_has_no_echo(tmp_path: Path) -> None:
    text = 'use "gone.attn"\n' + attention("x", "mask = near  target = far")
    text += "hardware h extends base { }\nmodel m { layers 2 = repeat y }"
    assert codes(checked(tmp_path, main=text)) == ["F4G105"]


def test_a_chain_of_files_that_never_ends_is_refused(tmp_path: Path) -> None:
    files = {f"f{i}": f'use "f{i + 1}.attn"' for i in range(60)}
    assert codes(checked(tmp_path, **files, f60="def f() = true")) == ["F4G805"]


def test_hardware_of_a_used_file_is_a_target(tmp_path: Path) -> None:
    result = checked(
        tmp_path,
        main='use "mine.attn"\n' + attention("x", "target = mine"),
        mine='hardware mine extends a100 { sms = 54 from "a MIG profile" }',
    )
    (plan,), problems = plan_spec(result)
    assert not problems
    assert (plan.hardware.name, plan.hardware.sms) == ("mine", 54)
    assert result.target("mine").clock_mhz == library.target("a100").clock_mhz


def test_extended_hardware_keeps_the_sources_of_what_it_keeps(tmp_path: Path) -> None:
    text = """
    hardware c extends b { features = [cp_async] from "measured" }
    hardware b extends a100 { sms = 1 from "one"  clock_mhz = 1 GHz from "two" }
    """
    gpu = checked(tmp_path, main=text).target("c")
    theirs, sources = dict(library.target("a100").sources), dict(gpu.sources)
    assert (gpu.sms, gpu.clock_mhz, gpu.arch) == (1, 1000, 80)
    assert sources["sms"] == "one"
    assert sources["features"] == "measured"
    assert sources["arch"] == theirs["arch"]
    assert sources.keys() == theirs.keys()


def test_a_long_chain_of_hardware_needs_no_deep_stack(tmp_path: Path) -> None:
    links = "".join(f"hardware h{i} extends h{i + 1} {{ }}\n" for i in range(2000))
    result = checked(tmp_path, main=links + "hardware h2000 extends a100 { }")
    assert result.target("h0").sms == 108


@pytest.mark.parametrize(
    ("main", "used"),
    [
        (attention("x"), attention("x")),
        ("hardware g extends a100 { }", "hardware g extends b200 { }"),
        ("def f() = true", "def f(n) = true"),
        ("model x { layers 1 = y } " + attention("y"), attention("x")),
    ],
)
def test_a_name_from_two_files_is_an_error(tmp_path: Path, main: str, used: str) -> None:
    assert codes(checked(tmp_path, main='use "a.attn"\n' + main, a=used)) == ["F4G205"]


def test_a_used_file_may_replace_what_the_prelude_says(tmp_path: Path) -> None:
    result = checked(
        tmp_path,
        main='use "a.attn"\n' + attention("x", "mask = prefix(5)"),
        a="def prefix(n) = k <= n",
    )
    assert not result.diagnostics
    assert "k" in str(result.attentions[0].mask)
    alone = checked(tmp_path, alone=attention("x", "mask = k <= 5"))
    assert result.attentions[0].mask == alone.attentions[0].mask
