"""Schedules of backward passes."""
