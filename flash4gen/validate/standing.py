"""Which certificate stands: one with mutants is not replaced by one that ran less and saw the same.

A plain compile runs no mutants. Where it comes to the same module, the same binary and the same
results as a certificate that is there already, the mutants of that one still hold.
"""

from __future__ import annotations

from dataclasses import replace

from flash4gen.validate.certificate import Certificate, Rung, from_json

_MUTANTS = "mutants"


def standing(made: Certificate, earlier: str) -> Certificate:
    """Return the certificate to write.

    Args:
        made: what validation says now.
        earlier: JSON form of the certificate that is there; anything else counts as none.

    Returns:
        The earlier one if it says all that `made` says and has mutants besides, else `made`.
    """
    try:
        known = from_json(earlier)
    except (ValueError, TypeError):
        return made
    more = _has_mutants(known) and not _has_mutants(made)
    return known if more and _plain(known) == _plain(made) else made


def _has_mutants(certificate: Certificate) -> bool:
    return any(_MUTANTS in rung.details for rung in certificate.rungs)


def _plain(certificate: Certificate) -> str:
    """Return the JSON form as it would be without mutants."""
    return replace(certificate, rungs=tuple(map(_without, certificate.rungs))).to_json()


def _without(rung: Rung) -> Rung:
    """Return a rung without mutants; those of one that has any end its summary, after a `;`."""
    if rung.name != "concurrency":
        return rung
    details = {name: value for name, value in rung.details.items() if name != _MUTANTS}
    return replace(rung, summary=rung.summary.partition("; ")[0], details=details)
