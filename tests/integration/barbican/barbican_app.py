"""Barbican's application; runs in its virtualenv. Barbican's own module reads a file below /etc."""

import os

from paste.deploy import loadapp

application = loadapp(f"config:{os.environ['BARBICAN_PASTE']}")
