"""`[tool.gpuenv.pack]`: what a publisher packs, and as what."""

import re

from gpuenv.manifest.node import Node
from gpuenv.manifest.sonames import decode_soname
from gpuenv.model.default_extras import BadDefaultExtras, DefaultExtras, checked
from gpuenv.model.packing import PackSettings, VariantClaim

__all__ = ["PACK_KEYS", "decode_pack"]

PACK_KEYS = (
    "tree", "name", "version", "tag", "output", "prefix", "summary", "best", "split", "requires", "provides", "exclude",
    "variant", "default-extras",
)  # fmt: skip
_TAG = re.compile(r"[a-z0-9_.]+-[a-z0-9_.]+-[A-Za-z0-9_.]+")
_LABEL = re.compile(r"[0-9a-z_.]+")
_ABSOLUTE = re.compile(r"/.+")


def decode_pack(node: Node) -> PackSettings:
    """The settings; raises ManifestError."""
    fields = node.fields(*PACK_KEYS)

    def text(key: str) -> str | None:
        return fields[key].text() if key in fields else None

    def flag(key: str) -> bool:
        return key in fields and fields[key].flag()

    name, tag, prefix = (fields.get(key) for key in ("name", "tag", "prefix"))
    provides = fields["provides"].entries() if "provides" in fields else {}
    return PackSettings(
        tree=text("tree"),
        name=name.name(name.text(), "name") if name else None,
        version=text("version"),
        tag=tag.matching(_TAG, "a tag", "py3-none-manylinux_2_28_x86_64") if tag else None,
        output=text("output"),
        prefix=prefix.matching(_ABSOLUTE, "an absolute path", "/opt/rocm") if prefix else None,
        summary=text("summary"),
        best=flag("best"),
        split=flag("split"),
        requires=fields["requires"].requirements() if "requires" in fields else (),
        provides={decode_soname(entry, soname): entry.requirement() for soname, entry in provides.items()},
        exclude=fields["exclude"].texts() if "exclude" in fields else (),
        variant=_variant(fields["variant"]) if "variant" in fields else None,
        default_extras=_extras(fields["default-extras"]) if "default-extras" in fields else None,
    )


def _variant(node: Node) -> VariantClaim:
    fields = node.fields("label", "properties", "namespaces", "providers")
    providers = fields["providers"].entries() if "providers" in fields else {}
    return VariantClaim(
        fields["label"].matching(_LABEL, "a label", "rocm7") if "label" in fields else None,
        fields["properties"].texts() if "properties" in fields else (),
        fields["namespaces"].texts() if "namespaces" in fields else (),
        {namespace: entry.text() for namespace, entry in providers.items()},
    )


def _extras(node: Node) -> DefaultExtras:
    try:
        return checked({selector: entry.texts() for selector, entry in node.entries().items()})
    except BadDefaultExtras as error:
        raise node.error(str(error)) from None
