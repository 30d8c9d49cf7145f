"""The application: the handlers of a program, and how they are found."""

from pgsched.app.app import App
from pgsched.app.router import Router
from pgsched.app.task_handle import TaskHandle

__all__ = ["App", "Router", "TaskHandle"]
