"""The one exception a user of the command line sees: a sentence, no traceback."""


class InputError(Exception):
    """Bad input, said in one sentence: what is wrong, in which file, what to do.

    The command line prints the sentence and exits with code 2.
    """


class ProtomeWarning(UserWarning):
    """Something a user should know about the input, said in one sentence; the work goes on."""
