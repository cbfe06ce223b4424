"""The head model that ships with the package: how it is made."""
