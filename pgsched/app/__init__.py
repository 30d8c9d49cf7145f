"""The application: the handlers of a program, and where they are found."""

from pgsched.app.app import App, TaskHandle

__all__ = ["App", "TaskHandle"]
