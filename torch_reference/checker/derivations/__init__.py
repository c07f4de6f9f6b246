"""Which step went wrong: changes of the reference that give the wrong gradients. Imports `tape` and `reference`."""
