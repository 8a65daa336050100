"""TTGIR text in, frozen tree out."""

from __future__ import annotations

from flash4gen.vgpu.parse.parser import TtgirSyntaxError, parse_ttgir

__all__ = ["TtgirSyntaxError", "parse_ttgir"]
