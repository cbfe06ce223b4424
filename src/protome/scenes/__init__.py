"""Other people's folders, read as scenes."""
