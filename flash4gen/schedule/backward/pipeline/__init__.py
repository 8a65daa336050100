"""The backward schedule of the warp-specialised family: one pipeline for all three gradients."""
