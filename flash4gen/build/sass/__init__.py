"""SASS text of a cubin → its loops, with what one turn of each costs and spills."""
