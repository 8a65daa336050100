"""The same module has the same certificate in every process, and the shipped ones are of today."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from flash4gen import compile_spec
from flash4gen.validate.certificate import from_json
from tests.project import GENERATED, ROOT

if TYPE_CHECKING:
    from pathlib import Path

CERTIFICATES = sorted(GENERATED.glob("*/*.certificate.json"))
BLACKWELL = [
    path
    for path in CERTIFICATES
    if from_json(path.read_text(encoding="utf-8")).schedule["family"] == "blackwell"
]
PROVE = """
import sys
from pathlib import Path
from flash4gen.validate import validate_module
from tests.validate.subjects import LOCAL, subject
print(validate_module(subject(LOCAL, "rtx5090", Path(sys.argv[1]))).to_json())
"""


def proven(folder: Path, **environment: str) -> str:
    """Return the certificate of a small module, made in a process of its own."""
    folder.mkdir()
    command = [sys.executable, "-c", PROVE, str(folder)]
    variables = os.environ | environment
    result = subprocess.run(
        command, cwd=ROOT, env=variables, check=True, capture_output=True, text=True
    )
    return result.stdout


def test_neither_hashes_nor_threads_show_in_a_certificate(tmp_path: Path) -> None:
    one = proven(tmp_path / "one", PYTHONHASHSEED="1", OMP_NUM_THREADS="1")
    two = proven(tmp_path / "two", PYTHONHASHSEED="2", OMP_NUM_THREADS="2")
    assert one == two
    assert '"name": "concurrency"' in one


@pytest.mark.slow
@pytest.mark.parametrize("path", CERTIFICATES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_shipped_certificate_is_what_validation_says_today(path: Path, tmp_path: Path) -> None:
    """Nothing else notices when a change of the checks changes what they say of these modules."""
    name = path.name.partition(".")[0]
    compile_spec(
        ROOT / "specs" / f"{name}.attn",
        targets=[path.parent.name],
        out=tmp_path,
        mutate="mutants not run" not in path.read_text(),
    )
    made = tmp_path / path.parent.name / path.name
    assert without_versions(made) == without_versions(path)


@pytest.mark.parametrize("path", BLACKWELL, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_mutant_of_a_blackwell_module_is_missed(path: Path) -> None:
    """Barriers of warp-specialised kernels are written by hand: their proof is checked as well."""
    rungs = {rung.name: rung for rung in from_json(path.read_text(encoding="utf-8")).rungs}
    mutants = rungs["concurrency"].details.get("mutants")
    assert isinstance(mutants, dict), "validate it with --mutate"
    counts = {name: count for name, count in mutants.items() if isinstance(count, int)}
    assert counts["missed"] == 0
    assert counts["flagged"] + counts["redundant"] == counts["all"] > 100


def without_versions(path: Path) -> list[str]:
    """Return the lines of a certificate, but for the one that names the libraries."""
    return [line for line in path.read_text().splitlines() if '"versions":' not in line]
