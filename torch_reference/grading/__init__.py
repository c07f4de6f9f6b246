"""Files that hold a hand-derived gradient, checked one by one: a user's own, or a folder of strangers' with a deadline.

`folder` and `own_file` are the two forms. A stranger's file runs in a process of its own without PyTorch (`worker`),
with limits of time, memory and files, and only arrays come back (`remote`); the judge sits in the command's process.
That stops accidents and ordinary tricks. It is not a sandbox against a determined attacker, who finds a way out of
Python: grade files of unknown origin in a container, or as a user without rights.

Imports `checker`.
"""
