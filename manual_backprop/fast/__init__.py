"""The same gradients in arrays that are made once, on all cores.

Imports `networks`, `optimizers`, `data` and `scores`.
"""
