"""The compute API as a WSGI application, for any WSGI server."""

import logging

from paste.deploy import loadapp

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
logging.basicConfig(level=logging.INFO, format=FORMAT)
application = loadapp("config:/etc/compute/api-paste.ini")
