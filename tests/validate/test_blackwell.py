"""Warp-specialised kernels on the virtual GPU: numbers, and no order of their warps goes wrong.

A grid of two programs walks all work tiles, so that every barrier goes around more than once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir.library import target
from flash4gen.ir.nodes import DType
from flash4gen.render.module import render
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.schedule.blackwell.short import one_tile
from flash4gen.vgpu import Check, Policy, virtual_gpu
from tests.ir.notation import attention
from tests.long_matrix import slow
from tests.schedule.variants import CAUSAL, FULL, SOFTCAP, chosen, pinning

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from torch import Tensor

    from flash4gen.ir.nodes import Attention

Modules = Callable[["Kernel"], "ModuleType"]

B200 = target("b200")
PROGRAMS = 2
WINDOW = "k <= q_end and q_end - k < 150"
Pins = dict[str, int | float | str]
POLICIES = (Policy.IN_ORDER, Policy.RANDOM)
ROUNDING = {DType.BF16: 2.0**-7, DType.FP16: 2.0**-9}
"""Of outputs of about 1: weights and outputs have 8 and 11 bits."""
POLYNOMIAL = 1e-4
"""Of a weight, and so of the logarithm of their sum."""
TANH = 3e-7
"""Of a hyperbolic tangent, of which a softcap makes 50 times as much."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One small attention and what its schedule pins."""

    name: str
    mask: str = CAUSAL
    widths: tuple[int, int] = (128, 128)
    score: str = "s"
    dtype: DType = DType.BF16
    pins: Pins = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    @property
    def tolerance(self) -> tuple[float, float]:
        """Return how far the output and its log-sum-exp may lie from the formula in float32."""
        scores = 0.0 if self.score == "s" else 50 * TANH
        return ROUNDING[self.dtype] + scores, POLYNOMIAL + scores

    @property
    def attention(self) -> Attention:
        """With two query heads to a key/value head."""
        head_dim, value_dim = self.widths
        plain = attention(
            name="small",
            heads=4,
            kv_heads=2,
            dtype=self.dtype,
            head_dim=head_dim,
            value_dim=value_dim,
            scale=head_dim**-0.5,
            score=self.score,
            mask=self.mask,
        )
        return pinning(plain, **self.pins)

    @property
    def schedule(self) -> BlackwellSchedule:
        """Return the schedule that is chosen for it."""
        found = chosen(self.attention, B200).schedule
        assert isinstance(found, BlackwellSchedule)
        return found

    def module(self, path: Path) -> ModuleType:
        """Render it for two programs, whatever the number of work tiles, and import it."""
        variant = self.attention
        text = render(variant, B200, chosen(variant, B200)).text
        launch = "_forward_kernel[(works,)]"
        static = launch.replace("works", "min(works, 148)")
        assert (launch in text) != (static in text)
        for old in (launch, static):
            text = text.replace(old, launch.replace("works", str(PROGRAMS)))
        path.write_text(text, encoding="utf-8")
        return load_module(path)

    def inputs(self, seq_q: int, seq_k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return random q, k and v."""
        random = torch.Generator().manual_seed(seq_q * 1000 + seq_k)
        dtype = torch.bfloat16 if self.dtype is DType.BF16 else torch.float16
        shapes = (
            (1, seq_q, 4, self.widths[0]),
            (1, seq_k, 2, self.widths[0]),
            (1, seq_k, 2, self.widths[1]),
        )
        q, k, v = (torch.randn(shape, generator=random).to(dtype) for shape in shapes)
        return q, k, v


PLAIN = Kernel(name="causal")
WINDOWED = Kernel(name="window, fp16", mask=WINDOW, dtype=DType.FP16)
DISJOINT: Pins = {"plan": "disjoint", "emulated": 0, "early": 0}
ONE_TILE: Pins = {"query_tiles": 1, "plan": "double_s"}
KERNELS = (
    PLAIN,
    WINDOWED,
    Kernel(name="causal, one tile", pins=ONE_TILE),
    Kernel(name="softcap, shared_s", score=SOFTCAP, pins={"plan": "shared_s"}),
    Kernel(name="64, full, disjoint", widths=(64, 64), mask=FULL, pins=DISJOINT),
    Kernel(name="192 and 128", widths=(192, 128), dtype=DType.FP16),
    Kernel(name="256, window, softcap", widths=(256, 256), mask=WINDOW, score=SOFTCAP),
)

PLANS: dict[tuple[int, int], tuple[str, ...]] = {
    (64, 64): ("p_in_s", "shared_s", "disjoint", "double_s"),
    (128, 128): ("p_in_s", "shared_s", "double_s"),
    (192, 128): ("p_in_s", "shared_s", "double_s"),
    (256, 256): ("double_s",),
}
MATRIX = tuple(
    Kernel(
        name=f"{widths[0]}, {plan}, {mask}, {score}, {dtype}",
        widths=widths,
        mask=mask,
        score=score,
        dtype=dtype,
        pins={"plan": plan, "query_tiles": 1 if plan == "double_s" else 2},
    )
    for widths, plans in PLANS.items()
    for plan, (mask, score, dtype) in itertools.product(
        plans,
        (
            (FULL, "s", DType.FP16),
            (FULL, SOFTCAP, DType.BF16),
            (CAUSAL, "s", DType.BF16),
            (WINDOW, SOFTCAP, DType.FP16),
        ),
    )
)


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Modules:
    """Return a function that renders and imports each kernel once."""
    made: dict[str, ModuleType] = {}

    def module(kernel: Kernel) -> ModuleType:
        key = repr(kernel)
        if key not in made:
            made[key] = kernel.module(tmp_path_factory.mktemp("kernel") / "small.py")
        return made[key]

    return module


def checked(module: ModuleType, policy: Policy, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """Run a kernel with all concurrency checks on, which must find nothing."""
    with virtual_gpu(B200.arch, check=Check(policy=policy)) as gpu:
        out, lse = module.small(*tensors)
    (report,) = gpu.reports
    assert not report.findings, "\n".join(map(str, report.findings[:5]))
    (launch,) = gpu.launches
    assert launch.grid == (PROGRAMS, 1, 1)
    return out, lse


def compare(kernel: Kernel, modules: Modules, seq_q: int, seq_k: int) -> None:
    """Run a kernel in two schedules: same bits, close to the formula."""
    module, tensors = modules(kernel), kernel.inputs(seq_q, seq_k)
    (out, lse), (again, lse_again) = (checked(module, policy, *tensors) for policy in POLICIES)
    assert torch.equal(out, again)
    assert torch.equal(lse, lse_again)
    expected, expected_lse = module._eager(*tensors)
    close, close_lse = kernel.tolerance
    torch.testing.assert_close(out, expected, rtol=close, atol=close)
    torch.testing.assert_close(lse, expected_lse, rtol=0, atol=close_lse)


@pytest.mark.parametrize("kernel", [*KERNELS[:4], *slow(*KERNELS[4:])], ids=str)
def test_numbers_and_concurrency(kernel: Kernel, modules: Modules) -> None:
    """Four work tiles or eight, each of up to five key tiles, the last ones cut."""
    compare(kernel, modules, 150, 600)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", MATRIX, ids=str)
def test_every_plan_with_every_width(kernel: Kernel, modules: Modules) -> None:
    for seq_q, seq_k in ((1, 1), (300, 129), (150, 600), (520, 1100)):
        compare(kernel, modules, seq_q, seq_k)


@pytest.mark.parametrize("kernel", KERNELS[:3], ids=str)
def test_rows_without_keys(kernel: Kernel, modules: Modules) -> None:
    """170 queries come before the first key, a whole tile of them among others."""
    q, k, v = kernel.inputs(300, 130)
    out, lse = checked(modules(kernel), Policy.RANDOM, q, k, v)
    assert bool((out[:, :170] == 0).all())
    assert bool(lse[:, :, :170].isneginf().all())
    assert bool(lse[:, :, 170:].isfinite().all())
    expected, _ = modules(kernel)._eager(q, k, v)
    torch.testing.assert_close(out, expected, rtol=kernel.tolerance[0], atol=kernel.tolerance[0])


@pytest.mark.parametrize("two", [PLAIN, *slow(WINDOWED)], ids=str)
def test_a_query_does_not_depend_on_who_shares_its_program(two: Kernel, modules: Modules) -> None:
    """One query tile to a program, or two: which key tiles a program walks differs, no bit does."""
    one = replace(two, name=f"{two.name}, one tile", pins=ONE_TILE)
    tensors = two.inputs(300, 500)
    with virtual_gpu(B200.arch):
        out, lse = modules(two).small(*tensors)
        out_one, lse_one = modules(one).small(*tensors)
    assert torch.equal(out, out_one)
    assert torch.equal(lse, lse_one)


CLC: Pins = {"dispatch": "clc", "pack": 2}
SHORT = (
    Kernel(name="launch control, packed", pins=CLC),
    *slow(
        PLAIN,
        Kernel(
            name="64, full, disjoint, short", widths=(64, 64), mask=FULL, pins={"plan": "disjoint"}
        ),
        WINDOWED,
        Kernel(name="192, softcap, short", widths=(192, 128), score=SOFTCAP),
    ),
)


@pytest.mark.parametrize("kernel", SHORT, ids=str)
def test_queries_that_fit_into_one_tile_are_launched_without_the_second(
    kernel: Kernel, modules: Modules, tmp_path: Path
) -> None:
    """It is the same module's other kernel, with the other's bits, in any order of its warps."""
    rows = kernel.schedule.short_queries // kernel.schedule.pack
    module, tensors = modules(kernel), kernel.inputs(rows - 3, 450)
    (out, lse), (again, _) = (own_grid(kernel, module, policy, *tensors) for policy in POLICIES)
    expected, expected_lse = module._eager(*tensors)
    close, close_lse = kernel.tolerance
    torch.testing.assert_close(out, expected, rtol=close, atol=close)
    torch.testing.assert_close(lse, expected_lse, rtol=0, atol=close_lse)
    always = replace(kernel, pins={**kernel.pins, "short_queries": 0})
    with virtual_gpu(B200.arch) as gpu:
        out_two, lse_two = always.module(tmp_path / "small.py").small(*tensors)
    (launch,) = gpu.launches
    assert launch.metadata.tmem_size == kernel.schedule.tmem_columns
    assert torch.equal(out, again)
    assert torch.equal(out, out_two)
    assert torch.equal(lse, lse_two)


def own_grid(
    kernel: Kernel, module: ModuleType, policy: Policy, *tensors: Tensor
) -> tuple[Tensor, Tensor]:
    """Run the kernel for short queries, with all checks on; it keeps to its own memory plan."""
    one = one_tile(kernel.schedule)
    assert one is not None
    with virtual_gpu(B200.arch, check=Check(policy=policy)) as gpu:
        out, lse = module.small(*tensors)
    assert not gpu.reports[0].findings, "\n".join(map(str, gpu.reports[0].findings[:5]))
    metadata = gpu.launches[0].metadata
    assert metadata.tmem_size == one.tmem_columns
    assert metadata.shared <= one.smem_bytes
    return out, lse


def test_one_query_more_than_a_tile_holds_takes_two(modules: Modules) -> None:
    halved = replace(PLAIN, name="causal, p_in_s", pins={"plan": "p_in_s"})
    for seq_q, columns in ((128, 256), (129, 512)):
        with virtual_gpu(B200.arch, execute=False) as gpu:
            modules(halved).small(*halved.inputs(seq_q, 130))
        assert gpu.launches[0].metadata.tmem_size == columns
