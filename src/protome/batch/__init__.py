"""Reconstructions of many subjects, by processes of one machine or of a cluster."""
