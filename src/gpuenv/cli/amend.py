"""The flags of `pack` and `repack` for what a publisher adds: that it is a variant, and its default extras."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from gpuenv.cli.common import Flags
from gpuenv.errors import UsageError

if TYPE_CHECKING:
    from gpuenv.model.default_extras import DefaultExtras
    from gpuenv.model.packing import VariantClaim

__all__ = ["Added", "AddedFlags"]


class Added(NamedTuple):
    """What these flags say; None for what they do not speak of."""

    variant: "VariantClaim | None"
    default_extras: "DefaultExtras | None"


def _added(
    *,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="A property of the variant: `amd :: gfx_arch :: gfx942`.", metavar="PROPERTY"),
    ] = None,
    variant_label: Annotated[
        str | None, typer.Option(help="Its label in the file name; default: a digest of its properties.")
    ] = None,
    variant_namespace: Annotated[
        list[str] | None,
        typer.Option(help="A namespace of the version's variants, best first; default: as in --variant.", metavar="NS"),
    ] = None,
    variant_provider: Annotated[
        list[str] | None, typer.Option(help="Whose plugin tells what a machine supports.", metavar="NS=REQ")
    ] = None,
    default_extras: Annotated[
        Path | None, typer.Option(help="Default extras by environment, a `default-extras.json`.", metavar="FILE")
    ] = None,
) -> Added:
    from gpuenv.model.packing import VariantClaim

    claim = VariantClaim(
        variant_label,
        tuple(variant or ()),
        tuple(variant_namespace or ()),
        dict(_provider(text) for text in variant_provider or ()),
    )
    return Added(claim if claim != VariantClaim() else None, _extras(default_extras) if default_extras else None)


def _provider(text: str) -> tuple[str, str]:
    namespace, equals, requirement = text.partition("=")
    if not equals or not requirement:
        raise UsageError(f"`{text}` is not NAMESPACE=REQUIREMENT", hints=["for example npu=npu-variant-provider"])
    return namespace.strip(), requirement.strip()


def _extras(path: Path) -> "DefaultExtras":
    from gpuenv.model.default_extras import BadDefaultExtras, parse

    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except BadDefaultExtras as error:
        raise UsageError(f"{path} is no table of default extras", causes=[str(error)]) from None


AddedFlags = Annotated[Added, Flags(_added)]
