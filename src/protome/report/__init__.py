"""Reports: one HTML file each, complete in itself, that shows what was made and from what."""
