"""Distances between meshes, protocols, tables. The package can be called: it is `report.evaluate`."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    # Importing any module of this folder binds the folder to the name `protome.evaluate`, which is also the public
    # function's: then the folder answers for the function.
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return import_module("protome.evaluate.report").evaluate(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
