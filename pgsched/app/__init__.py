"""The application: the handlers of a program, and where they are found."""

from pgsched.app.app import App, TaskHandle
from pgsched.app.router import Router

__all__ = ["App", "Router", "TaskHandle"]
