"""Limits in the signature of a plan, so that a wrong argument is refused when it is submitted and not when it runs.

A parameter is annotated as for pydantic, ``Annotated[int, Field(ge=1, le=100, description="…")]``, which blueapi reads.
``submittable`` tells bluesky-queueserver the same in its own form, the attribute that its decorator
``parameter_annotation_decorator`` sets; it is not imported, so that a session needs no queueserver.
"""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, formatannotation, signature
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


def with_arguments_of(
    build: Callable[..., Any], *left_out: str, **defaults: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Offer a plan with the arguments of ``build``, whose result becomes the plan's first argument.

    Plans that take the same settings so share one list of arguments. A plan has not those ``left_out``, and
    ``defaults`` of its own. Arguments without a default come first, then those of ``build``, then the plan's own.
    """
    shared = _parameters(build)
    offered = [
        parameter.replace(default=defaults.get(name, parameter.default))
        for name, parameter in shared.items()
        if name not in left_out
    ]
    unknown = {*left_out, *defaults} - shared.keys()
    if unknown:
        raise TypeError(f"{build.__name__} has no argument {', '.join(sorted(unknown))}")

    def decorate(plan: Callable[..., Any]) -> Callable[..., Any]:
        own = list(_parameters(plan).values())[1:]
        every = sorted((*offered, *own), key=lambda parameter: parameter.default is not Parameter.empty)
        whole = signature(plan).replace(parameters=every)

        @wraps(plan)
        def offer(*args: Any, **kwargs: Any) -> Any:
            given = whole.bind(*args, **kwargs)
            given.apply_defaults()
            rest = {parameter.name: given.arguments.pop(parameter.name) for parameter in own}
            return (yield from plan(build(**given.arguments), **rest))

        del offer.__wrapped__  # who unwraps it finds the wrong arguments
        offer.__signature__ = whole  # type: ignore[attr-defined]
        hints = get_type_hints(plan, include_extras=True)
        offer.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
        offer.__annotations__["return"] = hints["return"]
        return offer

    return decorate


def _parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    """The parameters of a function, by name, with types in place of their names."""
    hints = get_type_hints(function, include_extras=True)
    return {
        name: parameter.replace(annotation=hints[name]) for name, parameter in signature(function).parameters.items()
    }


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
