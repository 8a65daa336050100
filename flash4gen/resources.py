"""Where the files lie that are shipped beside the code: templates, specs and pages."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def resource_dir(kind: Literal["specs", "templates", "errors"]) -> Path:
    """Return the folder of the shipped specs, templates, or pages about errors.

    A wheel carries them inside the package; a checkout has them beside it.

    Raises:
        FileNotFoundError: neither is there, so the installation is broken.
    """
    package = Path(__file__).parent
    home = package.parent / "docs" if kind == "errors" else package.parent
    for folder in (package / f"_{kind}", home / kind):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"flash4gen is installed without its {kind} folder")
