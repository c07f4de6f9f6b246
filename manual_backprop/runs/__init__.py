"""What a run is for people: options, folder, checkpoint, progress, interruption, pictures. Imports every room."""
