"""`python -m flaxcnn` is the command `flaxcnn`."""

import sys

from flaxcnn.cli import main

sys.exit(main())
