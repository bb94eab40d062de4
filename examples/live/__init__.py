"""The whole of it, live, on this machine: ``make live``."""

import signal

# Until there is something to end (`__main__`): imports take a second, and a traceback of one is of no use.
signal.signal(signal.SIGINT, signal.SIG_DFL)
