"""Rendered module → compiled artefact: the first stage that imports Triton."""
