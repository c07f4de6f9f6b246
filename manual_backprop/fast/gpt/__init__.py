"""Training steps of a GPT in arrays that are made once. Imports the rooms of `fast` beside it."""
