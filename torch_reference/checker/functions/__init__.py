"""The face of the check for PyTorch functions: kernels and `autograd.Function`s with a backward pass of their own.

`face` -> `second_order` -> `examination` -> `experiment` -> `low_precision` -> `loss` -> `probes`. The judge is that of
NumPy's face.
"""
