"""The one exception that the command line reports: as a sentence, without traceback."""


class InputError(Exception):
    """Bad input, described in one sentence: what is wrong, in which file, what to do.

    The command line prints the sentence and exits with code 2.
    """


class IncompleteError(Exception):
    """A part of the work failed, and the rest is done; a sentence says where to read about it.

    The command line prints it and exits with code 3.
    """


class ProtomeWarning(UserWarning):
    """A warning to the user about the input, in one sentence; the work goes on."""
