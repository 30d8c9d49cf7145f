"""Finds the App that ``--app module:attribute`` names."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any

from pgsched.app.app import App
from pgsched.domain.errors import ConfigError


def load_app(path: str) -> App:
    """Import the module of ``module:attribute`` and return its App; the current folder is searched first.

    Raises ConfigError with one line: the path is malformed, the module does not exist or fails, the attribute is
    missing or not an App.
    """
    module_name, colon, attribute = path.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigError(f'app must be written as module:attribute, as "tasks:app", got "{path}"')
    found: Any = _import(module_name, path)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise ConfigError(f'app "{path}": the module {module_name} has no "{attribute}"') from error
    if not isinstance(found, App):
        raise ConfigError(f'app "{path}" must be a pgsched.App, got {_with_article(type(found).__name__)}')
    return found


def _import(name: str, path: str) -> Any:
    here = os.getcwd()  # noqa: PTH109  (sys.path holds strings)
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The module itself or a package that contains it, not something that it imports.
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ConfigError(f'app "{path}": there is no module "{error.name}" here or installed') from error
        raise _failed(name, path, error) from error
    except (Exception, SystemExit) as error:  # foreign code may raise anything
        raise _failed(name, path, error) from error


def _failed(name: str, path: str, error: BaseException) -> ConfigError:
    said = " ".join(str(error).split())
    cause = f"{type(error).__name__}: {said}" if said else type(error).__name__
    steps = [step for step in traceback.extract_tb(error.__traceback__) if "importlib" not in step.filename]
    where = f" ({steps[-1].filename}, line {steps[-1].lineno})" if len(steps) > 1 else ""
    return ConfigError(f'app "{path}": importing {name} failed: {cause}{where}')


def _with_article(noun: str) -> str:
    return f"{'an' if noun[:1] in 'aeiouAEIOU' else 'a'} {noun}"
