"""What holds for all tests."""

import signal

# A shell that runs `make test` in the background has its children ignore Ctrl-C, and so would theirs: the processes
# that some tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
