"""`generated/` as its users meet it: files that import anywhere, say what they want, and are right.

No virtual GPU here: on CPU tensors a module computes its formula in PyTorch. What the kernels
compute is what the certificates beside them are about.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from flash4gen.build.load import load_module
from flash4gen.driver import check_fresh, check_spec
from flash4gen.validate.cases import Case
from flash4gen.validate.certificate import from_json
from flash4gen.validate.execute import Measure, Ran, run_case, truth_of
from flash4gen.validate.inputs import Inputs
from flash4gen.validate.oracle import exact_products
from flash4gen.validate.products import tensor_core_products
from tests.project import GENERATED, ROOT, shown

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from flash4gen.ir.nodes import Attention

SPECS = sorted((ROOT / "specs").glob("*.attn"))
MODULES = sorted(GENERATED.glob("*/*.py"))

Function = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@cache
def attentions() -> dict[str, Attention]:
    return {item.name: item for spec in SPECS for item in check_spec(spec).attentions}


@cache
def loaded(path: Path) -> ModuleType:
    return load_module(path)


def function(path: Path) -> Function:
    made: Function = getattr(loaded(path), path.stem)
    return made


def tensors(
    attention: Attention, *, batch: int = 2, seq_q: int = 5, seq_k: int = 9
) -> list[Tensor]:
    """Return q, k and v of random values."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[attention.dtype]
    generator = torch.Generator().manual_seed(0)
    if attention.lengths == "equal":
        seq_k = seq_q
    sizes = (
        (batch, seq_q, attention.heads, attention.head_dim),
        (batch, seq_k, attention.kv_heads, attention.head_dim),
        (batch, seq_k, attention.kv_heads, attention.value_dim),
    )
    return [torch.randn(size, generator=generator).to(dtype) for size in sizes]


def takes_q_k_v_alone(path: Path) -> bool:
    """Whether a module's function has no other arguments, and no factors or gradients."""
    attention = attentions()[path.stem]
    more = attention.inputs or attention.length_tensors or attention.differentiable
    return not more and attention.dtype.bytes > 1


PLAIN = [path for path in MODULES if takes_q_k_v_alone(path)]
OTHERS = [path for path in MODULES if path not in PLAIN]

each_module = pytest.mark.parametrize("path", MODULES, ids=shown)
each_plain = pytest.mark.parametrize("path", PLAIN, ids=shown)


def test_there_is_a_module_for_every_spec_and_target() -> None:
    expected = {
        GENERATED / target / f"{attention.name}.py"
        for attention in attentions().values()
        for target in attention.targets
    }
    assert expected
    assert set(MODULES) == expected


def has_targets(spec: Path) -> bool:
    """Whether it is kept compiled; the others are compiled for whatever target is asked for."""
    return any(item.targets for item in check_spec(spec).attentions)


@pytest.mark.parametrize("spec", [s for s in SPECS if has_targets(s)], ids=shown)
def test_it_is_what_the_specs_compile_to_now(spec: Path) -> None:
    stale = check_fresh(spec, out=GENERATED)
    assert not stale, f"{stale[0].message}; run: flash4gen compile {shown(spec)}"


@each_module
def test_a_certificate_beside_it_says_that_it_passed(path: Path) -> None:
    certificate = from_json(path.with_suffix(".certificate.json").read_text(encoding="utf-8"))
    assert certificate.passed
    assert (certificate.name, certificate.target) == (path.stem, path.parent.name)


@each_module
def test_its_digest_is_that_of_its_text(path: Path) -> None:
    """Zeros stand where the digest stands; the certificate is about this very text."""
    text = path.read_text(encoding="utf-8")
    digest = from_json(path.with_suffix(".certificate.json").read_text()).provenance["text"]
    assert isinstance(digest, str)
    assert text.count(f"sha256:{digest[:16]}") == 1
    unsealed = text.replace(f"sha256:{digest[:16]}", f"sha256:{'0' * 16}")
    unsealed = unsealed.replace(f"_{digest[:8]}", f"_{'0' * 8}")
    assert sha256(unsealed.encode()).hexdigest() == digest


@each_module
def test_none_of_its_backward_kernels_spills(path: Path) -> None:
    certificate = json.loads(path.with_suffix(".certificate.json").read_text(encoding="utf-8"))
    kernels = certificate["facts"].get("backward", {})
    assert bool(kernels) == attentions()[path.stem].differentiable
    for name, facts in kernels.items():
        assert (facts["spill_stores"], facts["spill_loads"]) == (0, 0), name


CLEAN_IMPORT = """
import contextlib, importlib.util, io, sys
import torch, triton
sys.dont_write_bytecode = True
before = set(sys.modules)
for path in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("copied", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["copied"] = module  # as an import statement does
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        spec.loader.exec_module(module)
    assert not printed.getvalue(), f"{path} prints"
    assert module.__all__ == [path.rpartition("/")[2].removesuffix(".py")], path
    assert triton.runtime.driver._active is None, f"{path} looks for a GPU"
    assert not torch.cuda.is_initialized(), f"{path} starts CUDA"
new = {name.partition(".")[0] for name in set(sys.modules) - before}
assert new <= {"copied", "torch", "triton", *sys.stdlib_module_names}, new
"""


def test_importing_needs_torch_and_triton_alone_and_does_nothing(tmp_path: Path) -> None:
    """In a process of its own, in an empty folder, as for someone without flash4gen."""
    command = [sys.executable, "-I", "-c", CLEAN_IMPORT, *map(str, MODULES)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert list(tmp_path.iterdir()) == []


@each_plain
def test_on_the_cpu_it_agrees_with_the_meaning_of_the_spec(path: Path) -> None:
    attention = attentions()[path.stem]
    q, k, v = tensors(attention)
    assert_right(attention, (q, k, v), function(path)(q, k, v))


@pytest.mark.parametrize("path", OTHERS, ids=shown)
def test_with_all_its_arguments_too(path: Path) -> None:
    """Input tensors, packed or paged sequences, 8-bit elements: as the rung ``function`` does."""

    def on_the_cpu(inputs: Inputs) -> Ran:
        out, second = getattr(loaded(path), path.stem)(
            inputs.q, inputs.k, inputs.v, **inputs.tensors
        )
        return Ran(out, second, ())

    case = Case(name="small", batch=2, seq_q=5, seq_k=9)
    module, text = loaded(path), path.read_text(encoding="utf-8")
    result = run_case(attentions()[path.stem], module, text, case, on_the_cpu)
    assert not result.failures


def assert_right(
    attention: Attention,
    arguments: tuple[Tensor, ...],
    results: tuple[Tensor, Tensor],
    product: Callable[[Tensor, Tensor], Tensor] = exact_products,
) -> None:
    """Compare out and lse with the meaning of the spec, by the rule that certificates go by."""
    q, k, v = arguments
    out, lse = results
    inputs = Inputs(q, k, v, storages=(), copies=())
    for compared in truth_of(attention, inputs, Measure(product=product)).compare(out, lse):
        assert not compared.problems
        assert compared.ratio <= 1
    assert (out.dtype, lse.dtype) == (q.dtype, torch.float32)


def wrong_arguments(attention: Attention) -> dict[str, tuple[str, list[Tensor], str]]:
    """Return arguments that do not fit: which one, all of them, and what the message says."""
    q, k, v = tensors(attention)
    wide = torch.cat([q, q], dim=3)
    many = torch.cat([k, k], dim=2)
    return {
        "dtype": ("q", [q.float(), k, v], f"expected dtype {q.dtype}, got torch.float32"),
        "dtype of v": ("v", [q, k, v.float()], f"expected dtype {q.dtype}, got torch.float32"),
        "width": ("q", [wide, k, v], f"{2 * attention.head_dim}]"),
        "heads": ("k", [q, many, v], f"{2 * attention.kv_heads}, "),
        "rank": ("q", [q[0], k, v], "[batch, seq_q, "),
        "batch": ("k", [q, k[:1], v[:1]], "batch = 2"),
        "length": ("v", [q, k, v[:, :-1]], f"seq_k = {k.shape[1]}"),
        "device": ("k", [q, k.to("meta"), v], "expected a tensor on cpu like q, got meta"),
        "gradient": ("v", [q, k, v.clone().requires_grad_()], "forward only"),
    }


@each_plain
@pytest.mark.parametrize(
    "mistake",
    ["dtype", "dtype of v", "width", "heads", "rank", "batch", "length", "device", "gradient"],
)
def test_a_wrong_argument_is_named(path: Path, mistake: str) -> None:
    argument, arguments, told = wrong_arguments(attentions()[path.stem])[mistake]
    with pytest.raises((TypeError, ValueError)) as caught:
        function(path)(*arguments)
    assert str(caught.value).startswith(f"{argument}: ")
    assert told in str(caught.value)


@each_plain
def test_torch_compile_sees_one_operator(path: Path) -> None:
    attend = function(path)
    q, k, v = tensors(attentions()[path.stem])
    seen: list[str] = []

    def note(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> torch.fx.GraphModule:
        seen.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph

    compiled = torch.compile(attend, backend=note, fullgraph=True)
    for got, expected in zip(compiled(q, k, v), attend(q, k, v), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)
    assert sum("flash4gen" in name for name in seen) == 1


@each_plain
def test_shapes_are_known_without_a_gpu(path: Path) -> None:
    attention = attentions()[path.stem]
    # meta tensors, because a CPU build of torch makes no fake CUDA ones
    q, k, v = (x.to("meta") for x in tensors(attention, batch=3, seq_q=7, seq_k=11))
    out, lse = loaded(path)._op(q, k, v)
    assert (out.shape, out.dtype, out.device.type) == (
        (3, 7, attention.heads, attention.value_dim),
        q.dtype,
        "meta",
    )
    assert (lse.shape, lse.dtype) == ((3, attention.heads, 7), torch.float32)


@each_plain
def test_the_operator_keeps_the_rules_of_torch(path: Path) -> None:
    torch.library.opcheck(loaded(path)._op, tuple(tensors(attentions()[path.stem])))


@pytest.mark.gpu
@each_plain
def test_on_a_gpu_it_runs_or_says_which_gpu_it_is_made_for(path: Path) -> None:
    module = loaded(path)
    attention = attentions()[path.stem]
    q, k, v = tensors(attention)
    major, minor = torch.cuda.get_device_capability()
    target = ("cuda", 10 * major + minor)
    if target != module.TARGET:
        with pytest.raises(RuntimeError, match=path.parent.name):
            function(path)(q.cuda(), k.cuda(), v.cuda())
        return
    out, lse = function(path)(q.cuda(), k.cuda(), v.cuda())
    assert_right(attention, (q, k, v), (out.cpu(), lse.cpu()), tensor_core_products)
