"""The reference as autograd evaluates it, with noise, ties and other ways to add up: all that is private PyTorch."""
