"""Schedule → source: the templates print what has been decided."""
