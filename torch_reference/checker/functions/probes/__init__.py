"""What only a function can get wrong: one probe a file, each on the function alone, against its own plain answer.

A probe gets a `Trial` and returns its findings: a message for each output or gradient that fails. It imports no judge.
"""
