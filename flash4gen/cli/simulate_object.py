"""What `flash4gen simulate --format json` says. In: ``Simulated``. Out: plain data."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flash4gen.driver import Simulated
    from flash4gen.simulate.timed import Range, Spread


def as_object(found: Simulated) -> dict[str, Any]:
    """Return a module's time as plain data; everything under ``modelled`` is modelled."""
    timed, plan = found.timed, found.plan
    one, whole = timed.simulation, timed.whole
    return {
        "attention": plan.attention.name,
        "target": plan.hardware.name,
        "module": str(found.path),
        "fresh": found.fresh,
        "schedule": asdict(timed.subject.choice.schedule),
        "launch": {name: value for name, value in asdict(whole.shape).items() if value},
        "modelled": {
            "turn": {
                "cycles": one.cycles_per_turn,
                "queries": one.tile_q,
                "keys": one.tile_k,
                "tflops_nominal": timed.turn_tflops,
            },
            "prologue": one.prologue,
            "epilogue": one.epilogue,
            "fill_drain": one.fill_drain,
            "residents": one.residents,
            "whole": asdict(whole.launch),
            "operations": whole.operations,
            "speeds": [speed._asdict() for speed in whole.speeds],
            "spread": timed.spread and _spread(timed.spread),
            "utilisation": dict(one.utilisation),
            "limits": [limit._asdict() for limit in timed.limits],
            "path": [asdict(stage) for stage in timed.stages],
            "standing": [asdict(item) for item in one.standing],
            "roles": [asdict(role) for role in one.roles],
        },
    }


def _spread(spread: Spread) -> dict[str, Any]:
    def pair(reach: Range) -> dict[str, float]:
        return reach._asdict()

    return {
        "jitter": spread.jitter,
        "seeds": spread.seeds,
        "turn_cycles": pair(spread.turn),
        "whole_cycles": pair(spread.cycles),
        "tflops": [pair(reach) for reach in spread.tflops],
    }
