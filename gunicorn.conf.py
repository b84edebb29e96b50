"""How gunicorn serves the API: a few processes with threads, most of which wait.

gunicorn -c gunicorn.conf.py api.wsgi:app
"""

import os

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from api import guard, shutdown
from deploy.process import die_with_parent
from shared.settings import load_settings

host, port = os.environ.get("IMAGEMILL_HOST", "127.0.0.1"), os.environ.get("IMAGEMILL_PORT", "8080")
bind = f"{host}:{port}"

worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = int(os.environ.get("WEB_THREADS", "16"))
keepalive = 30

# A thread that waits for a job does not stop its process from telling that it lives, so `timeout`
# does not end long waits; on SIGTERM they are answered at once (see api.shutdown), and what is
# left is cut off after `graceful_timeout`.
timeout = 60
graceful_timeout = 10

accesslog = None
control_socket_disable = True


def when_ready(server: Arbiter) -> None:
    """Without authentication nothing but loopback may be bound, wherever the address is from."""
    if load_settings().auth == "off":
        guard.check_bind(str(listener.getsockname()[0]) for listener in server.LISTENERS)


def post_worker_init(worker: Worker) -> None:
    die_with_parent(worker.ppid)
    shutdown.install()
