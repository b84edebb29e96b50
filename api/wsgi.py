"""`gunicorn api.wsgi:app`. Importing this connects to nothing."""

from api.app import create_app
from shared import logs
from shared.settings import load_settings

settings = load_settings()
logs.configure(settings.log_level)
app = create_app(settings)
