"""The checked machine: partitions as coroutines, engines as queues, and clocks that order both.

What it proves it proves for what was executed: these arguments, this grid, these branches. The
order between partitions, engines and CTAs is checked by clocks and does not depend on the schedule
that ran. Below are the limits of the model.

* Accesses of one partition are ordered by the program, tile by tile. Hazards between its warps,
  and the barriers and fences that Triton inserts between them after TTGIR, are not seen.
* An `init_barrier` is taken to be visible to the async proxy and to the whole cluster without a
  fence: Triton's own kernels have none in one CTA, and it adds one itself in a cluster.
* A generic read before an asynchronous write needs an order, and no fence; nor do generic accesses
  of global memory before or after TMA.
* A `tcgen05.commit` also publishes what its partition did before it.
* Reads of global memory are remembered from the first write to the same tensor on. Programs of a
  grid that use atomics are trusted to order their other accesses by them.
* The CTAs of a cluster run operation by operation; the skew between them is in the clocks alone.
"""

from __future__ import annotations
