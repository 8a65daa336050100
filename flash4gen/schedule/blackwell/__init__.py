"""The warp-specialised family for targets with tcgen05: fields, memory plan, rules, and the log."""
