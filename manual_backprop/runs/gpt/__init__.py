"""What a run of a GPT is for people: options, steps, sample and results. Imports the rooms of `runs` beside it."""
