"""From the name of a source to images and labels; one file a format. Imports `storage`."""
