"""A certificate's failures as diagnostics: what a user of the command line gets to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.collect import Findings
from flash4gen.validate.certificate import Json, Status

if TYPE_CHECKING:
    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.source import Span
    from flash4gen.validate.certificate import Certificate, Rung

SHOWN = 5
"""How many failures of a rung are told one by one."""


def findings(certificate: Certificate, at: Span | None) -> tuple[Diagnostic, ...]:
    """Return an error for each failed rung of a certificate.

    Args:
        certificate: of one module.
        at: the item of the spec that the module comes from.
    """
    found = Findings()
    module = f"{certificate.target}/{certificate.name}"
    for rung in certificate.rungs:
        if rung.status is Status.FAILED:
            found.error(
                Code.VALIDATION_FAILED,
                f"{module} failed the rung {rung.name}: {rung.summary}",
                at,
                notes=_notes(rung, certificate.name),
                helps=[
                    "do not use this module: it is a fault of flash4gen, or of a template that "
                    "overrides its own, not of the spec; the certificate has the details"
                ],
            )
    return found.in_order()


def _notes(rung: Rung, name: str) -> list[str]:
    told = [_note(failure, name) for failure in rung.failures[:SHOWN]]
    left = len(rung.failures) - SHOWN
    return [*told, f"and {left} more"] if left > 0 else told


def _note(failure: dict[str, Json], name: str) -> str:
    """Return one line: the reason and the places that it leads to."""
    places = []
    if "module_line" in failure:
        function = f" in {failure['function']}" if "function" in failure else ""
        places.append(f"{name}.py:{failure['module_line']}{function}")
    if "spec" in failure:
        places.append(f"from {failure['spec']}")
    return f"{failure['reason']}" + (f" ({', '.join(places)})" if places else "")
