"""Training heads: from open sources to samples on disk."""
