"""Variants of wheels: files read strictly, merged without contradiction; which of them serves a target, and why not."""

import json
import re
from typing import Any

import msgspec
import pytest

from gpuenv.model.markers import NO_VARIANT, VariantEnvironment
from gpuenv.model.variant_choice import abi_requirements, declared, rank, served_apart, why_not
from gpuenv.model.variants import (
    LIMIT,
    BadVariants,
    Property,
    Supported,
    VariantProvider,
    Variants,
    merge,
    parse_property,
    parse_variants,
)

OLD = "https://variants-schema.wheelnext.dev/peps/825/v0.1.1.json"
NEW = "https://variants-schema.wheelnext.dev/peps/850/v0.2.0.json"
PLUGIN = {"requires": ["nvidia-variant-provider==0.0.1"], "plugin-api": "nvidia_variant_provider.plugin:Plugin"}

H100: Supported = (("nvidia", (("cuda", ("12", "11")), ("sm_arch", ("90_real", "90_virtual")))),)
B200: Supported = (("nvidia", (("cuda", ("12", "11")), ("sm_arch", ("100_real", "100_virtual")))),)
CPU: Supported = (("x86_64", (("level", ("v3", "v2", "v1")),)),)


def document(variants: dict[str, Any], *namespaces: str, **providers: Any) -> dict[str, Any]:
    """A file of the newer generation; a namespace without provider has a plugin."""
    return {
        "$schema": NEW,
        "default-priorities": {"namespace": list(namespaces)},
        "providers": {name: providers.get(name, {"requires": [f"{name}-provider"]}) for name in namespaces},
        "variants": variants,
    }


def read(said: Any, label: str | None = None) -> Variants:
    """A file from plain values."""
    return parse_variants(json.dumps(said).encode(), label)


def variants(labels: dict[str, Any], *namespaces: str, **providers: Any) -> Variants:
    """A release's variants from plain values."""
    return read(document(labels, *namespaces, **providers))


def test_properties_are_three_names() -> None:
    """Text and value of a property are each other's; blanks around `::` mean nothing."""
    found = parse_property("nvidia::cuda_version_lower_bound  ::  12.8")
    assert found == Property("nvidia", "cuda_version_lower_bound", "12.8")
    assert str(found) == "nvidia :: cuda_version_lower_bound :: 12.8"


@pytest.mark.parametrize(
    "text", ["", "a :: b", "a :: b :: c :: d", "A :: b :: c", "a :: b.c :: d", "a :: b :: ", "a:b:c"]
)
def test_what_is_no_property(text: str) -> None:
    """Three parts, of small letters, digits and `_`, the value also of dots."""
    with pytest.raises(BadVariants, match="is no property"):
        parse_property(text)


def test_both_generations_are_read() -> None:
    """A file without providers and one with them say the same of labels; values are sets, and sorted."""
    labels = {"cu": {"nvidia": {"sm_arch": ["90_real", "100_real"]}}, "null": {}}
    old = read({"$schema": OLD, "default-priorities": {"namespace": ["nvidia", "amd"]}, "variants": labels})
    new = variants(labels, "nvidia", "amd", nvidia=PLUGIN, amd={"optional": True, "requires": ["rocm-bootstrap"]})
    assert old.labels == new.labels
    assert old.labels["cu"] == (Property("nvidia", "sm_arch", "100_real"), Property("nvidia", "sm_arch", "90_real"))
    assert (old.namespaces, old.providers) == (("nvidia", "amd"), {})
    assert new.providers == {
        "amd": VariantProvider(optional=True, requires=("rocm-bootstrap",)),
        "nvidia": VariantProvider(
            requires=("nvidia-variant-provider==0.0.1",), plugin_api="nvidia_variant_provider.plugin:Plugin"
        ),
    }


@pytest.mark.parametrize(
    "schema",
    ["https://variants-schema.wheelnext.dev/v0.2.0.json", "https://schemas.index.example/variants/v0.2.7.json"],
)
def test_the_version_counts_not_the_host(schema: str) -> None:
    """Where a schema lies says nothing: the standards have moved it, and will again."""
    assert read({**document({}, "a"), "$schema": schema}).schema == schema


def test_static_properties_have_an_order() -> None:
    """Features stand as `feature-order` has them, values as the list; one feature alone needs no order."""
    two = {"static-properties": {"size": ["s"], "speed": ["o3", "o2"]}, "feature-order": ["speed", "size"]}
    one = {"static-properties": {"library": ["mkl", "blis"]}}
    providers = variants({}, "tuning", "blas", tuning=two, blas=one).providers
    assert providers["tuning"].static == (("speed", ("o3", "o2")), ("size", ("s",)))
    assert providers["blas"].static == (("library", ("mkl", "blis")),)


def test_newer_minor_versions_may_say_more() -> None:
    """What a newer minor version adds is passed over; the same in a version that is known is a mistake."""
    said = document({"null": {}}, "a", a={"requires": ["a"], "signed": True})
    more = {**said, "signature": "…", "default-priorities": {"namespace": ["a"], "region": []}}
    assert list(read({**more, "$schema": NEW.replace("0.2.0", "0.3.0")}).labels) == ["null"]
    with pytest.raises(BadVariants, match="`signature`, which its schema does not have"):
        read(more)


def broken(**changes: Any) -> dict[str, Any]:
    """A good file, but for some keys; None takes a key away."""
    said = {**document({"l": {"a": {"f": ["v"]}}}, "a"), **{key.replace("_", "-"): to for key, to in changes.items()}}
    return {key: value for key, value in said.items() if value is not None}


STATIC = {"f": ["v"], "g": ["v"]}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([], "the file is no object"),
        (broken(variants=None), "it lacks `variants`"),
        (broken(providers=None), "it lacks `providers`"),
        (broken(extra=1), "`extra`, which its schema does not have"),
        ({**broken(), "$schema": None}, "$schema: it has something other than text"),
        ({**broken(), "$schema": NEW.replace("v0", "v1")}, "gpuenv reads those of version 0"),
        ({**broken(), "$schema": "v0.2.0"}, "gpuenv reads those of version 0"),
        ({**broken(), "$schema": OLD}, "`providers`, which its schema does not have"),
        (broken(default_priorities={}), "default-priorities.namespace: it is no list that has something in it"),
        (broken(default_priorities={"namespace": []}), "no list that has something in it"),
        (broken(default_priorities={"namespace": ["a", "a"]}), "something comes twice"),
        (broken(default_priorities={"namespace": ["A"]}), "`A` is not allowed there"),
        (broken(default_priorities={"namespace": ["a"], "feature": {}}), "has `feature`, which its schema"),
        (broken(default_priorities={"namespace": [f"n{n}" for n in range(101)]}), "101 namespaces, more than 100"),
        (
            document({"a": {"nvidia": {"sm_arch": [f"v{n}" for n in range(1001)]}}}, "nvidia"),
            "variants.a: it has 1001 properties, more than 1000",
        ),
        (broken(default_priorities={"namespace": ["b"]}), "`default-priorities.namespace` lacks `a`"),
        (broken(variants={"L": {}}), "`L` is no label"),
        (broken(variants={"l": {}}), "variants.l: it has no properties, and only the null variant has none"),
        (broken(variants={"\x1b[2J": {}}), "`\\x1b[2J` is no label"),
        (broken(variants={"l": []}), "variants.l is no object"),
        (broken(variants={"l": {"A": {}}}), "variants.l: `A` is no namespace"),
        (broken(variants={"l": {"a": ["f"]}}), "variants.l.a is no object"),
        (broken(variants={"l": {"a": {"F": ["v"]}}}), "variants.l.a: `F` is no name of a feature"),
        (broken(variants={"l": {"a": {"f": []}}}), "variants.l.a.f: it is no list that has something in it"),
        (broken(variants={"l": {"a": {"f": ["v", "v"]}}}), "variants.l.a.f: something comes twice"),
        (broken(variants={"l": {"a": {"f": ["a-b"]}}}), "`a-b` is not allowed there"),
        (broken(variants={"l": {"a": {"f": [1]}}}), "variants.l.a.f: it has something other than text"),
        (broken(variants={"null": {"a": {"f": ["v"]}}}), "the null variant has no properties"),
        (broken(providers={}), "are not those of `default-priorities`"),
        (broken(providers={"a": {}}), "providers.a: it must have one of"),
        (broken(providers={"a": {"requires": ["x"], "builtin": "abi_dependency"}}), "it must have one of"),
        (broken(providers={"a": {"build-requires": ["x"]}}), "`build-requires`, which its schema does not have"),
        (broken(providers={"a": {"requires": []}}), "providers.a.requires: it is no list"),
        (broken(providers={"a": {"requires": ["x"], "optional": 1}}), "optional: it is neither true nor false"),
        (broken(providers={"a": {"builtin": "x", "plugin-api": "y"}}), "`plugin-api` is without `requires`"),
        (broken(providers={"a": {"requires": ["x"], "plugin-api": "y z"}}), "`y z` is not allowed there"),
        (broken(providers={"a": {"requires": ["x"], "feature-order": ["f"]}}), "`feature-order` is without"),
        (broken(providers={"a": {"static-properties": STATIC}}), "does not name each feature"),
        (broken(providers={"a": {"static-properties": STATIC, "feature-order": ["f"]}}), "does not name each feature"),
        (broken(providers={"a": {"static-properties": {}}}), "it is no list that has something in it"),
    ],
)
def test_what_the_schemas_do_not_allow(said: Any, message: str) -> None:
    """Whatever the schema does not have is refused, and the message says where it is."""
    assert read(broken()).labels == {"l": (Property("a", "f", "v"),)}
    with pytest.raises(BadVariants, match=re.escape(message)):
        read(said)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "it is no JSON"),
        (b"\xff\xfe\xff", "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b'{"$schema": ' + b"1" * 10_000 + b"}", "a number that no variants file has"),
        (json.dumps(broken()).replace('"l"', '"m": {}, "m"').encode(), "a key comes twice"),
        (b" " * (LIMIT + 1), "bytes, more than"),
    ],
)
def test_hostile_files(data: bytes, message: str) -> None:
    """What is too large, too deep or says one thing twice is refused before anything is made of it."""
    with pytest.raises(BadVariants, match=message):
        parse_variants(data)


def test_a_wheel_has_its_label_alone() -> None:
    """The file in a wheel is for the label in the wheel's name, and for no other."""
    some = {"a": {"f": ["v"]}}
    one = document({"cu": some}, "a")
    assert list(read(one, "cu").labels) == ["cu"]
    with pytest.raises(BadVariants, match="for the labels `cu`, and the wheel's name has `cpu`"):
        read(one, "cpu")
    with pytest.raises(BadVariants, match="for the labels `cpu`, `cu`, and the wheel's name has `cu`"):
        read(document({"cu": some, "cpu": some}, "a"), "cu")


def test_variants_are_kept_in_caches() -> None:
    """Encoded and decoded they are the same, so that a cache may hold them."""
    found = variants({"l": {"a": {"f": ["v"]}}, "null": {}}, "a", "b", b={"static-properties": {"f": ["x", "y"]}})
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Variants) == found


def test_files_of_one_release_become_one() -> None:
    """Labels come together, the longer list of namespaces stays, and it does not matter which file comes first."""
    one, other = variants({"x": {"a": {"f": ["v"]}}}, "a"), variants({"null": {}}, "a", "b")
    both = variants({"null": {}, "x": {"a": {"f": ["v"]}}}, "a", "b")
    assert merge(one, other) == merge(other, one) == both


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (variants({}, "a", "b"), variants({}, "b", "a"), "the namespaces `a`, `b` do not begin `b`, `a`"),
        (variants({"x": {"a": {"f": ["1"]}}}, "a"), variants({"x": {"a": {"f": ["2"]}}}, "a"), "`x` has not the same"),
        (variants({}, "a"), variants({}, "a", a={"requires": ["other"]}), "`a` has not the same provider"),
        (
            variants({}, "a"),
            read({"$schema": OLD, "default-priorities": {"namespace": ["a", "b"]}, "variants": {}}),
            "no provider is known of `b`",
        ),
    ],
)
def test_contradictions_are_refused(one: Variants, other: Variants, message: str) -> None:
    """Files of one release that contradict each other are not one."""
    for first, second in ((one, other), (other, one)):
        with pytest.raises(BadVariants, match=message):
            merge(first, second)


def test_the_order_of_the_standard() -> None:
    """Namespaces go before features, features before values, more features before fewer, then labels; null is last."""
    found = variants(
        {
            "null": {},
            "z_more": {"nvidia": {"cuda": ["12"], "sm_arch": ["90_real"]}},
            "fewer": {"nvidia": {"cuda": ["12"]}},
            "older": {"nvidia": {"cuda": ["11"], "sm_arch": ["90_real"]}},
            "second": {"nvidia": {"sm_arch": ["90_real"]}},
            "twin": {"nvidia": {"sm_arch": ["90_real", "70_real"]}},
            "cpu": {"x86_64": {"level": ["v3"]}},
            "other": {"nvidia": {"sm_arch": ["80_real"]}},
        },
        "nvidia",
        "x86_64",
    )
    assert rank(found, [H100 + CPU]) == ["z_more", "fewer", "older", "second", "twin", "cpu", "null"]
    assert rank(found, [CPU]) == ["cpu", "null"]
    assert rank(found, [()]) == rank(found, []) == ["null"]


def test_lists_stand_in_for_plugins() -> None:
    """What a file lists itself is supported as listed there, whatever is known of the machine."""
    found = variants(
        {"mkl": {"x86_64": {"level": ["v9"]}}, "v3": {"x86_64": {"level": ["v3"]}}},
        "x86_64",
        x86_64={"static-properties": {"level": ["v9"]}},
    )
    assert rank(found, [CPU]) == ["mkl"]


def test_optional_providers_are_asked_for() -> None:
    """A namespace with an optional provider is supported only where the project says so, be it a list or known."""
    found = variants(
        {"v3": {"x86_64": {"level": ["v3"]}}, "mkl": {"blas": {"library": ["mkl"]}}},
        "x86_64",
        "blas",
        x86_64={"optional": True, "requires": ["x"]},
        blas={"optional": True, "static-properties": {"library": ["mkl"]}},
    )
    assert rank(found, [CPU]) == []
    assert rank(found, [CPU], {"blas", "x86_64"}) == ["v3", "mkl"]
    assert why_not(found, "v3", [CPU]).endswith("the provider of which is optional and not used")


def test_files_without_providers_are_supported_as_known() -> None:
    """Where a file names no providers, what is known of the machine counts."""
    labels = {"v3": {"x86_64": {"level": ["v3"]}}}
    old = read({"$schema": OLD, "default-priorities": {"namespace": ["x86_64"]}, "variants": labels})
    assert rank(old, [CPU]) == ["v3"]


def test_every_gpu_must_be_served() -> None:
    """A variant serves several GPUs if it serves each; the one that is best where it is worst comes first."""
    found = variants(
        {
            "h100": {"nvidia": {"sm_arch": ["90_real"]}},
            "b200": {"nvidia": {"sm_arch": ["100_real"]}},
            "real": {"nvidia": {"sm_arch": ["90_real", "100_real"]}},
            "mixed": {"nvidia": {"sm_arch": ["90_real", "100_virtual"]}},
            "null": {},
        },
        "nvidia",
    )
    assert rank(found, [H100, B200]) == rank(found, [B200, H100]) == ["real", "mixed", "null"]
    assert rank(found, [H100]) == ["h100", "mixed", "real", "null"]
    assert served_apart(found, [H100, B200]) == ()
    assert why_not(found, "h100", [H100, B200]) == (
        "it needs `nvidia :: sm_arch :: 90_real`, and the target supports 100_real, 100_virtual"
    )


def test_targets_to_split() -> None:
    """Where GPUs have variants and none serves all of them, that is told; other properties do not count."""
    labels = {
        "h100": {"nvidia": {"sm_arch": ["90_real"]}},
        "b200": {"nvidia": {"sm_arch": ["100_real"]}},
        "v3": {"x86_64": {"level": ["v3"]}},
        "null": {},
    }
    found = variants(labels, "nvidia", "x86_64")
    assert served_apart(found, [H100 + CPU, B200 + CPU]) == ("h100", "b200")
    assert served_apart(found, [H100, H100]) == served_apart(found, [H100]) == served_apart(found, [CPU, CPU]) == ()
    del labels["b200"]
    assert served_apart(variants(labels, "nvidia", "x86_64"), [H100, B200]) == ("h100", "")


@pytest.mark.parametrize(
    ("label", "machine", "words"),
    [
        ("v3", CPU, ""),
        ("v4", CPU, "it needs `x86_64 :: level :: v4`, and the target supports v3, v2, v1"),
        ("avx", CPU, "it needs `x86_64 :: avx :: on`, and the target supports no `x86_64 :: avx`"),
        ("v3", H100, "it needs `x86_64 :: level :: v3`, and the target supports nothing of `x86_64`"),
        ("own", CPU, "it needs `own :: f :: v` of the built-in provider `magic`, which gpuenv does not have"),
        ("abi", CPU, "it needs `abi :: torch :: 02`, which is no release of a distribution"),
        ("many", CPU, "it needs `x86_64 :: level :: w0, w1, w2, w3, … (6 values)`, and the target supports v3, v2, v1"),
        ("gone", CPU, "no properties are known of the label `gone`"),
    ],
)
def test_why_a_variant_does_not_serve(label: str, machine: Supported, words: str) -> None:
    """The first feature of which nothing is supported is told, with what is supported of it."""
    found = variants(
        {
            "v3": {"x86_64": {"level": ["v3"]}},
            "v4": {"x86_64": {"level": ["v4"]}},
            "avx": {"x86_64": {"avx": ["on"], "level": ["v3"]}},
            "own": {"own": {"f": ["v"]}},
            "abi": {"abi": {"torch": ["02"]}},
            "many": {"x86_64": {"level": [f"w{n}" for n in range(6)]}},
        },
        "x86_64",
        "own",
        "abi",
        own={"builtin": "magic"},
        abi={"builtin": "abi_dependency"},
    )
    assert why_not(found, label, [machine]) == words
    assert (label in rank(found, [machine])) == (not words)


def test_markers_see_what_is_supported() -> None:
    """Markers see the properties of a wheel that a machine of the target supports, with several GPUs of each."""
    found = variants({"cu": {"nvidia": {"sm_arch": ["90_real", "100_real", "120_real"]}}, "null": {}}, "nvidia")
    alone = declared(found, "cu", [H100])
    assert alone == VariantEnvironment("cu", (("nvidia", "sm_arch", "90_real"),))
    assert [value for *_, value in declared(found, "cu", [H100, B200]).properties] == ["100_real", "90_real"]
    assert declared(found, "null", [H100]) == VariantEnvironment("null", ())
    assert NO_VARIANT.label == ""


def test_built_against_other_distributions() -> None:
    """`abi_dependency` names distributions and releases, newest first; what is no such name or release is not taken."""
    found = variants(
        {
            "both": {"abi": {"torch": ["2.9", "2.10", "2.9.1"], "foo_bar": ["1"]}},
            "old": {"abi": {"torch": ["2.8"]}},
            "bad": {"abi": {"foo__bar": ["1"]}},
            "null": {},
        },
        "abi",
        abi={"builtin": "abi_dependency"},
    )
    assert abi_requirements(found, "both") == (("foo-bar", ("1",)), ("torch", ("2.10", "2.9.1", "2.9")))
    assert abi_requirements(found, "old") == (("torch", ("2.8",)),)
    assert abi_requirements(found, "null") == abi_requirements(found, "bad") == ()
    assert rank(found, [()]) == ["both", "old", "null"]
