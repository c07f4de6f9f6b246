"""Letters A to J rendered from fonts: the data set that needs no download."""
