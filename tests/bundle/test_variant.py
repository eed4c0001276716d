"""`variant.json` and the label: what a publisher says of a variant, as the standards have it written."""

import json

import pytest

from gpuenv.bundle.variant import digest_label, encode_variants, merged, variant_of
from gpuenv.errors import ArchiveError, UsageError
from gpuenv.model.packing import VariantClaim
from gpuenv.model.variants import Property, parse_variants

GFX = "amd :: gfx_arch :: gfx942"
SM = "nvidia :: sm_arch :: 90_real"


def test_a_variant_is_written_with_its_providers() -> None:
    """Namespaces keep the order in which they were named, values are sorted, each namespace has the known provider."""
    found = variant_of(VariantClaim("rocm", (SM, "amd::gfx_arch::gfx950", GFX, GFX)))
    document = json.loads(encode_variants(found))
    assert document == {
        "$schema": "https://variants-schema.wheelnext.dev/peps/850/v0.2.0.json",
        "default-priorities": {"namespace": ["nvidia", "amd"]},
        "providers": {
            "nvidia": {
                "requires": ["nvidia-variant-provider"],
                "plugin-api": "nvidia_variant_provider.plugin:NvidiaVariantPlugin",
            },
            "amd": {
                "requires": ["rocm-bootstrap"],
                "plugin-api": "rocm_bootstrap.variant_provider:AMDVariantPlugin",
            },
        },
        "variants": {"rocm": {"amd": {"gfx_arch": ["gfx942", "gfx950"]}, "nvidia": {"sm_arch": ["90_real"]}}},
    }
    assert parse_variants(encode_variants(found), "rocm") == found


def test_a_label_that_nobody_chose_is_a_digest() -> None:
    """It depends on the properties alone; without any it is `null`, which then needs the namespaces of the others."""
    one, other = (variant_of(VariantClaim(properties=tuple(order))) for order in ((GFX, SM), (SM, GFX)))
    properties = [Property("nvidia", "sm_arch", "90_real"), Property("amd", "gfx_arch", "gfx942")]
    assert list(one.labels) == list(other.labels) == [digest_label(properties)] == ["f0332d69"]  # as variantlib has it
    assert list(variant_of(VariantClaim(namespaces=("amd",))).labels) == ["null"]


def test_files_without_providers_stay_so() -> None:
    """What was written by the older schema, which has none, is written by it again."""
    document = {
        "$schema": "https://variants-schema.wheelnext.dev/peps/825/v0.1.1.json",
        "default-priorities": {"namespace": ["amd"]},
        "variants": {"x": {"amd": {"gfx_arch": ["gfx942"]}}},
    }
    assert json.loads(encode_variants(parse_variants(json.dumps(document).encode()))) == document


def test_providers_can_be_named() -> None:
    """By a requirement, for namespaces that nobody knows and instead of known ones; an ABI needs none."""
    claim = VariantClaim(
        "x",
        ("npu :: kind :: a1", GFX, "abi_dependency :: torch :: 2.9"),
        providers={"npu": "npu-kinds>=2", "amd": "my-amd"},
    )
    document = json.loads(encode_variants(variant_of(claim)))
    assert document["providers"] == {
        "npu": {"requires": ["npu-kinds>=2"]},
        "amd": {"requires": ["my-amd"]},
        "abi_dependency": {"builtin": "abi_dependency"},
    }


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (VariantClaim("x", ("gfx942",)), "gfx942"),
        (VariantClaim("x", ("npu :: kind :: a1",)), "nobody is known to tell which properties of `npu`"),
        (VariantClaim("x", (GFX,), ("nvidia",)), "leave out amd"),
        (VariantClaim("x", (GFX,), providers={"npu": "y"}), "npu has a provider"),
        (VariantClaim("x", (GFX,), providers={"amd": "not a name"}), "is not a requirement"),
        (VariantClaim("null", (GFX,)), "`null` is that of the variant without properties"),
        (VariantClaim("x", (), ("amd",)), "`null` is that of the variant without properties"),
        (VariantClaim("x"), "must say which namespaces"),
        (VariantClaim("X-1", (GFX,)), "no variant can be written"),
    ],
)
def test_what_no_standard_knows_is_refused(claim: VariantClaim, words: str) -> None:
    """Before anything is written, with what is wrong."""
    with pytest.raises(UsageError) as caught:
        variant_of(claim)
    assert words in caught.value.message


def test_variants_of_a_version_are_merged() -> None:
    """Labels of all come together, whichever file comes first; the longest list of namespaces counts."""
    one = variant_of(VariantClaim("a", (GFX,)))
    other = variant_of(VariantClaim("b", (SM,), ("amd", "nvidia")))
    both = merged([("a.whl", one), ("b.whl", other)])
    assert both == merged([("b.whl", other), ("a.whl", one)])
    assert (both.namespaces, list(both.labels)) == (("amd", "nvidia"), ["a", "b"])


def test_variants_that_contradict_each_other_are_named() -> None:
    """Of several files the two between which the contradiction is, with what helps."""
    fine = variant_of(VariantClaim("a", (GFX,)))
    wrong = variant_of(VariantClaim("b", (SM,)))
    with pytest.raises(ArchiveError) as caught:
        merged([("a.whl", fine), ("aa.whl", fine), ("b.whl", wrong)])
    assert caught.value.message == "a.whl and b.whl contradict each other as variants of one version"
    assert caught.value.hints == ("name the same namespaces for both: gpuenv repack --variant-namespace …",)
    twice = variant_of(VariantClaim("a", ("amd :: gfx_arch :: gfx950",)))
    with pytest.raises(ArchiveError) as caught:
        merged([("a.whl", fine), ("b.whl", twice)])
    assert caught.value.hints == ()
