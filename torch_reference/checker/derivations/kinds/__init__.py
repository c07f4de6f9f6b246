"""The kinds of mistakes, a file each: what they change at one place of the reference, and how likely that is."""
