"""Markers that ask for a wheel's variant, alone and among others; lines of requirements that have them."""

import pytest

from gpuenv.model.markers import VariantEnvironment
from gpuenv.model.requirement import InvalidRequirement, evaluate_marker, parse_requirement
from gpuenv.model.target import Target

LINUX = Target("t").marker_environment
CUDA = VariantEnvironment(
    "cu128", (("nvidia", "cuda", "12.8"), ("nvidia", "sm_arch", "90_real"), ("x86_64", "level", "v3"))
)
NULL = VariantEnvironment("null", ())


@pytest.mark.parametrize(
    ("marker", "cuda", "null", "plain"),
    [
        ('"nvidia" in variant_namespaces', True, False, False),
        ('"nvidia" not in variant_namespaces', False, True, True),
        ('"nvid" in variant_namespaces', False, False, False),
        ('"nvidia :: cuda" in variant_features', True, False, False),
        ('"nvidia::cuda" in variant_features', True, False, False),
        ('"nvidia" in variant_features', False, False, False),
        ("'nvidia ::   cuda::12.8 ' in variant_properties", True, False, False),
        ('"nvidia :: cuda :: 12" in variant_properties', False, False, False),
        ('"nvidia :: cuda :: 12.9" not  in variant_properties', True, True, True),
        ('variant_label == "cu128"', True, False, False),
        ('"cu128" == variant_label', True, False, False),
        ('variant_label != "null"', True, False, True),
        ('variant_label == ""', False, False, True),
        ('"cu" in variant_label', True, False, False),
        ('variant_label in "cu126 cu128"', True, False, True),
        ('variant_label not in "cu126 null"', True, False, False),
    ],
)
def test_single_comparisons(marker: str, cuda: bool, null: bool, plain: bool) -> None:
    """Sets are asked for members, blanks around `::` mean nothing; a label is text, "" for a wheel without variant."""
    assert evaluate_marker(marker, LINUX, "", CUDA) is cuda
    assert evaluate_marker(marker, LINUX, "", NULL) is null
    assert evaluate_marker(marker, LINUX) is plain


@pytest.mark.parametrize(
    ("marker", "holds"),
    [
        ('"nvidia" in variant_namespaces and sys_platform == "linux"', True),
        ('"nvidia" in variant_namespaces and sys_platform == "win32"', False),
        ('sys_platform == "win32" or variant_label == "cu128"', True),
        ('sys_platform == "win32" and os_name == "nt" or variant_label == "cu128"', True),
        ('variant_label == "cu128" or sys_platform == "win32" and os_name == "nt"', True),
        ('(variant_label == "cu128" or sys_platform == "win32") and os_name == "nt"', False),
        ('((variant_label == "cu128")) and (extra == "Fast_er" or extra == "x")', True),
        ('variant_label == "cu128" and extra == "other"', False),
        ('python_version >= "3.10" and "x86_64 :: level" in variant_features', True),
        ('sys_platform != "variant_label"', True),
    ],
)
def test_among_other_comparisons(marker: str, holds: bool) -> None:
    """`and` binds closer than `or`, parentheses closer than both; the rest of a marker is as without variants."""
    assert evaluate_marker(marker, LINUX, "fast-er", CUDA) is holds


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("dep;'a::b' in variant_features", 'dep; "a :: b" in variant_features'),
        ("Dep[X]>=1 ; ((variant_label=='q'))", 'dep[x]>=1; variant_label == "q"'),
        (
            "dep; (variant_label == 'q' or extra == 'X_y') and python_version<'4'",
            'dep; (variant_label == "q" or extra == "x-y") and python_version < "4"',
        ),
        (
            "dep @ https://index.example/a;b ; variant_label == 'q'",
            'dep @ https://index.example/a;b ; variant_label == "q"',
        ),
        ("dep; variant_label == 'a\"b'", "dep; variant_label == 'a\"b'"),
        ("variant_dep; os_name == 'nt'", 'variant-dep; os_name == "nt"'),
        ("dep @ https://index.example/variant_a;b", "dep @ https://index.example/variant_a;b"),
        ("variant_dep>1", "variant-dep>1"),
    ],
)
def test_lines_are_read_and_printed(line: str, printed: str) -> None:
    """A requirement with such a marker is read, and what is printed reads as the same."""
    found = parse_requirement(line)
    assert str(found) == printed
    assert parse_requirement(printed) == found


@pytest.mark.parametrize(
    "marker",
    [
        'variant_namespaces == "nvidia"',
        'variant_namespaces in "nvidia"',
        '"nvidia" > variant_namespaces',
        'variant_label >= "cu128"',
        'variant_label === "cu128"',
        "variant_label == variant_label",
        'variant_colour == "red"',
        "variant_label ==",
        'variant_label == "a',
        'variant_label == "a" and',
        'variant_label == "a" variant_label == "b"',
        '(variant_label == "a"',
        'variant_label == "a")',
        'variant_label not "a"',
        'variant_label == "a" and colour == "red"',
        "(" * 1000 + 'variant_label == "a"' + ")" * 1000,
    ],
)
def test_what_is_no_marker(marker: str) -> None:
    """Comparisons that the standard does not have are no requirements, as others that mean nothing."""
    with pytest.raises(InvalidRequirement):
        parse_requirement(f"dep; {marker}")


@pytest.mark.parametrize("line", ["dep_", "dep[x-]", "dep; " + "(" * 40 + "os_name == 'nt'" + ")" * 40])
def test_what_is_no_requirement(line: str) -> None:
    """Names that end in what no name ends in, and parentheses without end, are refused before they lead anywhere."""
    with pytest.raises(InvalidRequirement):
        parse_requirement(line)
    assert parse_requirement("dep; " + "(os_name == 'nt') or " * 40 + "os_name == 'nt'").marker


@pytest.mark.parametrize("marker", ['"a" == "b"', '"a" in extras', '"a" == "b" and variant_label == ""'])
def test_nothing_to_compare_with(marker: str) -> None:
    """Two texts, and variables of lock files, raise as comparisons that mean nothing."""
    with pytest.raises(ValueError, match="is nothing that a marker compares with"):
        evaluate_marker(marker, LINUX)


def test_meaningless_comparisons_raise() -> None:
    """One that cannot be made raises, whatever stands beside it, so that the line is told of as meaning nothing."""
    with pytest.raises(ValueError, match="Undefined"):
        evaluate_marker('variant_label == "" or extra ~= "x"', LINUX)
