"""Which step of the derivation went wrong: changes of the reference's own computation. Imports `reference` alone."""
