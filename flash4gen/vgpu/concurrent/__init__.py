"""The checked machine: partitions as coroutines, engines as queues, and clocks that order both."""

from __future__ import annotations
