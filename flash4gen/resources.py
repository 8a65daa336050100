"""Where the files lie that are shipped beside the code: the templates and the specs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def resource_dir(kind: Literal["specs", "templates"]) -> Path:
    """Return the folder of the shipped specs or templates.

    A wheel carries them inside the package; a checkout has them beside it.

    Raises:
        FileNotFoundError: neither is there, so the installation is broken.
    """
    package = Path(__file__).parent
    for folder in (package / f"_{kind}", package.parent / kind):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"flash4gen is installed without its {kind} folder")
