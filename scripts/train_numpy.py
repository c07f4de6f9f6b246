"""Train the network with the gradients derived by hand, in NumPy."""

import os
import signal
import sys

if __name__ == "__main__":  # Ctrl-C while the rest is imported: there is nothing to save yet
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from manual_backprop.runs.numpy_side import main

if __name__ == "__main__":
    sys.exit(main())
