"""Chooses the tiles, warps, stages and loads of a kernel for a target, and says why."""
