"""Time of a compiled module: what its kernel does, step by step, on ``flash4gen.clock``.

Everything that comes out of here is *modelled*.
"""
