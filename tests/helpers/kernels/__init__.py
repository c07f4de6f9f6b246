"""Functions with a backward pass by hand, right and wrong, for the check of PyTorch functions."""
