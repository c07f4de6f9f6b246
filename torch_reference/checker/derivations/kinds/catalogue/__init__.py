"""The mistakes that are tried: tables of small functions. A new one is five lines, and a row in a table.

A function of `SLOPES` gets a `Local`, the gradient of the operation's result and the number of an operand, and returns
what the wrong derivation passes on to that operand; one of `RESULTS` gets a `Local` and returns another result. One
that does not fit an operation returns None, or fails as PyTorch does. Its docstring is what people read.
"""
