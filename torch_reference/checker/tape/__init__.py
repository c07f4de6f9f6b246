"""The reference's own computation, step by step, to be run again with changes. Imports `reference` alone."""
