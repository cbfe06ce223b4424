"""What one look at a photo tells of the head in it, before anything is fitted."""
