"""Distances between meshes, protocols, tables. The package is callable as `report.evaluate`."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    # Importing any module of this package binds the package to the name `protome.evaluate`, which is also that of the
    # public function: a call of the package is then a call of the function.
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return import_module("protome.evaluate.report").evaluate(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
