"""Starting files for template authors: what prints the same as shipped until it is changed."""

from __future__ import annotations

from flash4gen.diagnostics.suggest import did_you_mean, one_of
from flash4gen.render.context import API
from flash4gen.render.contract import ENDING, Contract, Signature, shipped_templates

OWN = "concern"
"""The kind for a concern that is not shipped."""

FIRST = "plain"
"""The first file of such a concern."""


class NoSuchTemplateError(Exception):
    """There is nothing of that kind and name to begin from; ``helps`` says what there is."""

    def __init__(self, message: str, helps: tuple[str, ...]) -> None:
        super().__init__(message)
        self.helps = helps


def kinds() -> tuple[str, ...]:
    """Return the kinds of templates: folders of concerns, skeleton, shared, a concern's own."""
    folders = dict.fromkeys(_kind(name) for name in shipped_templates())
    return (*folders, OWN)


def names(kind: str) -> tuple[str, ...]:
    """Return the names of the shipped templates of a kind."""
    return tuple(
        name.rpartition("/")[2].removesuffix(ENDING)
        for name in shipped_templates()
        if _kind(name) == kind
    )


def _kind(template: str) -> str:
    return template.rpartition("/")[0].rpartition("/")[2]


def template_name(kind: str, name: str) -> str:
    """Return where a template of a kind lies in a template directory.

    Raises:
        NoSuchTemplateError: there is no such kind, or nothing of this name to override.
    """
    if kind not in kinds():
        helps = did_you_mean(kind, kinds()) or (f"one of {one_of(kinds())}",)
        raise NoSuchTemplateError(f"there is no kind of templates `{kind}`", helps)
    if kind == OWN:
        _check_own(name)
        return f"concern/{name}/{FIRST}{ENDING}"
    if name not in names(kind):
        helps = (
            *(did_you_mean(name, names(kind)) or (f"there is {one_of(names(kind))}",)),
            "nothing prints a template by a name of its own: override a shipped one, or begin a "
            "concern with `flash4gen templates new concern NAME`",
        )
        raise NoSuchTemplateError(f"`{kind}` has no template `{name}`", helps)
    return next(
        one
        for one in shipped_templates()
        if one.endswith(f"/{name}{ENDING}") and _kind(one) == kind
    )


def _check_own(name: str) -> None:
    if not name.isidentifier():
        message = f"`{name}` cannot be the name of a concern"
        raise NoSuchTemplateError(message, ("letters, digits and _, a letter first",))
    if name in kinds():
        message = f"the concern `{name}` is shipped"
        raise NoSuchTemplateError(message, (f"override one of {one_of(names(name))}",))


def starting_file(kind: str, name: str) -> tuple[str, str]:
    """Return the name and the text of a new template.

    Raises:
        NoSuchTemplateError: there is nothing to begin from.
    """
    template = template_name(kind, name)
    if kind == OWN:
        return template, _concern(name)
    shipped = shipped_templates()[template]
    text = _extending if shipped.kind == "skeleton" else _importing
    return template, text(template, shipped)


def _extending(template: str, shipped: Contract) -> str:
    blocks = shipped.blocks or shipped_templates()[f"skeleton/module{ENDING}"].blocks
    lines = [
        f"{{# skeleton: {shipped.about}, changed | extends: builtin "
        f"| blocks: {', '.join(blocks)} | api: {API} #}}",
        f'{{% extends "builtin/{template}" %}}',
    ]
    if template == f"skeleton/module{ENDING}":
        return "\n".join(lines) + "\n"  # its blocks are filled by the skeletons that extend it
    for block in blocks:
        lines += [f"{{% block {block} %}}", "{{ super() }}", "{% endblock %}"]
    return "\n".join(lines) + "\n"


def _importing(template: str, shipped: Contract) -> str:
    kind, about = shipped.kind, shipped.about
    macros = ", ".join(one.name for one in shipped.signatures)
    lines = [
        f"{{# {kind}: {about} | macros: {macros} | api: {API} #}}",
        f'{{% import "builtin/{template}" as shipped %}}',
        "{# Change the macros that you mean to change; the others hand on to the shipped ones. #}",
        *(_handing_on(macro) for macro in shipped.signatures),
    ]
    return "\n".join(lines) + "\n"


def _handing_on(macro: Signature) -> str:
    required = len(macro.parameters) - len(macro.defaults)
    optional = zip(macro.parameters[required:], macro.defaults, strict=True)
    taken = [*macro.parameters[:required], *(f"{name}={value}" for name, value in optional)]
    call = f"{{{{ shipped.{macro} }}}}"
    return f"{{% macro {macro.name}({', '.join(taken)}) %}}{call}{{% endmacro %}}"


def _concern(name: str) -> str:
    return f"""\
{{# concern: {name} | macros: define, call | api: {API} #}}
{{% import "shared/layout.py.j2" as layout %}}
{{% macro define() %}}
{{{{ layout.banner("{name}") }}}}
@triton.jit
def _{name}(x):
    \"\"\"Return x as it is: [TILE_Q, TILE_K] scores in float32.\"\"\"
    return x
{{% endmacro %}}
{{% macro call(x) %}}_{name}({{{{ x }}}}){{% endmacro %}}
"""
