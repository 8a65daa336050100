"""Goldens: texts that tests compare with files; people read them, and accept them by an option.

A golden that is missing fails its test; one that no test asks for fails the suite, when all of it
was run. Works the same in one process and in several (pytest-xdist).
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
FOLDER = TESTS / "golden"
USED = pytest.StashKey[set[str]]()
"""Goldens that tests of this process have asked for, as paths."""


class Golden:
    """The fixture ``golden`` of one test."""

    def __init__(self, node: pytest.Item, config: pytest.Config) -> None:
        self._node = node
        self._used = config.stash[USED]
        self._update = bool(config.getoption("--update-golden"))

    def __call__(self, where: str | Path, actual: str) -> None:
        """Compare a text with its golden.

        Args:
            where: file name, in the folder of goldens of this test's file; or an absolute path.
            actual: what the test produced.
        """
        __tracebackhide__ = True
        path = Path(where)
        if not path.is_absolute():
            path = FOLDER / self._node.path.relative_to(TESTS).with_suffix("") / path
        self._used.add(str(path))
        if self._update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(actual, encoding="utf-8", newline="\n")
            return
        shown = path.relative_to(TESTS.parent) if path.is_relative_to(TESTS.parent) else path
        accept = f"if the text is right, run: pytest '{self._node.nodeid}' --update-golden"
        if not path.is_file():
            pytest.fail(f"there is no golden {shown}; {accept}", pytrace=False)
        expected = path.read_text(encoding="utf-8")
        if actual != expected:
            difference = difflib.unified_diff(
                expected.splitlines(), actual.splitlines(), str(shown), "now", lineterm=""
            )
            pytest.fail("\n".join([*difference, accept]), pytrace=False)


class SuiteGoldens:
    """Looks for goldens that nobody asked for; lives in the process that sees the whole suite."""

    def __init__(self, config: pytest.Config) -> None:
        self._used = config.stash[USED]
        self._idle: set[str] = set()
        self._whole = not (
            config.args_source is pytest.Config.ArgsSource.ARGS
            or config.option.keyword
            or config.option.markexpr
            or config.option.collectonly
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker's tests asked for."""
        self._used.update(getattr(node, "workeroutput", {}).get("goldens", ()))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember the files with tests that did not run to their end."""
        if report.outcome != "passed":
            self._idle.add(report.nodeid.partition("::")[0])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session if there are unused goldens."""
        unused = self.unused() if self._whole else []
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if not unused or reporter is None:
            return
        text = "no test asks for these goldens; delete them:\n  " + "\n  ".join(unused)
        report = pytest.CollectReport("tests/golden", "failed", text, [])
        reporter.stats.setdefault("error", []).append(report)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def unused(self) -> list[str]:
        """Return the goldens that no test asked for, leaving out those of tests that did not run.

        Goldens are all files of the folder of goldens, and elsewhere what lies beside one that
        was asked for and ends like it.
        """
        idle = {FOLDER / Path(file).relative_to("tests").with_suffix("") for file in self._idle}
        used = {Path(path) for path in self._used}
        kept = {path for path in FOLDER.rglob("*") if path.is_file()}
        kept.update(other for path in used for other in path.parent.glob(f"*{path.suffix}"))
        return sorted(
            str(path.relative_to(TESTS.parent))
            for path in kept - used
            if path.is_relative_to(TESTS) and not idle.intersection(path.parents)
        )
