"""The one exception that the command line reports: as a sentence, without traceback."""


class InputError(Exception):
    """Bad input, described in one sentence: what is wrong, in which file, what to do.

    The command line prints the sentence and exits with code 2.
    """


class ProtomeWarning(UserWarning):
    """A warning to the user about the input, in one sentence; the work goes on."""
