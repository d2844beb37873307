"""Looking into an agent: record an episode, draw any step of it, replay it, change it, play one yourself."""

from importlib import import_module
from typing import Any

from .drawing import describe, frame_png, step_svg
from .field import PolicyField, policy_field
from .interventions import EditCell, ModulesDeaf, ModulesForced, ModulesFrozen, ModulesOff, SwapMission
from .trace import Trace
from .use import MapOfUse, map_of_use
from .view import describe_view, view_svg

_WIDGETS = {  # ipywidgets takes a second to import
    "Stepper": "stepper", "XRay": "xray", "WhatIf": "what_if_widget", "watch": "watching",
    "FieldView": "field_view",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _WIDGETS:
        return getattr(import_module(f".{_WIDGETS[name]}", __name__), name)
    raise AttributeError(f"module 'metarim_lite.lens' has no attribute {name!r}")


__all__ = [
    "EditCell",
    "FieldView",
    "MapOfUse",
    "ModulesDeaf",
    "ModulesForced",
    "ModulesFrozen",
    "ModulesOff",
    "PolicyField",
    "Stepper",
    "SwapMission",
    "Trace",
    "WhatIf",
    "XRay",
    "describe",
    "describe_view",
    "frame_png",
    "map_of_use",
    "policy_field",
    "step_svg",
    "view_svg",
    "watch",
]
