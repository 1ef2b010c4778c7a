"""Limits in the signature of a plan, so that a wrong argument is refused when it is submitted and not when it runs.

A parameter is annotated as for pydantic, ``Annotated[int, Field(ge=1, le=100, description="…")]``, which blueapi reads.
``submittable`` tells bluesky-queueserver the same in its own form, the attribute that its decorator
``parameter_annotation_decorator`` sets; it is not imported, so that a session needs no queueserver.
"""

from collections.abc import Callable
from inspect import formatannotation
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

PlanFunction = TypeVar("PlanFunction", bound=Callable[..., Any])


def submittable(plan: PlanFunction) -> PlanFunction:
    """Give ``plan`` the description that queueserver looks for; the plan itself stays as it is."""
    hints = get_type_hints(plan, include_extras=True)
    described = {name: _described(hint) for name, hint in hints.items() if name != "return"}
    plan._custom_parameter_annotation_ = {  # type: ignore[attr-defined]
        "parameters": {name: entry for name, entry in described.items() if len(entry) > 1}
    }
    return plan


def _described(hint: Any) -> dict[str, Any]:
    """The type, the limits and the description of one parameter, as queueserver names them."""
    fields: list[FieldInfo] = []
    described: dict[str, Any] = {"annotation": formatannotation(_bare(hint, fields))}
    for field in fields:
        if field.description:
            described["description"] = field.description
        for limit in field.metadata:  # ge or le; other rules queueserver does not know
            for key, end in (("ge", "min"), ("le", "max")):
                if hasattr(limit, key):
                    described[end] = getattr(limit, key)
    return described


def _bare(hint: Any, fields: list[FieldInfo]) -> Any:
    """The type without its annotations, which are added to ``fields``."""
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        fields += [extra for extra in extras if isinstance(extra, FieldInfo)]
    inner = [_bare(part, fields) for part in get_args(hint)]
    return get_origin(hint)[*inner] if inner else hint
