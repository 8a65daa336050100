"""Proves a generated module right and says how: the oracle, the cases, the ladder, the certificate.

``validate_module(subject)`` gives a ``Certificate``; ``findings`` tells its failures to a user.
"""

from __future__ import annotations

from flash4gen.validate.certificate import Certificate, Rung, Status, from_json, summary_rows
from flash4gen.validate.findings import findings
from flash4gen.validate.ladder import validate_module
from flash4gen.validate.numbers import Progress
from flash4gen.validate.subject import Subject

__all__ = [
    "Certificate",
    "Progress",
    "Rung",
    "Status",
    "Subject",
    "findings",
    "from_json",
    "summary_rows",
    "validate_module",
]
