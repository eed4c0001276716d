"""Facts as text and back, and the order that people expect."""

from gpuenv.model.facts import (
    DeviceCode,
    NativeFacts,
    ObjectFacts,
    PythonModule,
    Symlink,
    Units,
    decode_facts,
    encode_facts,
    natural,
)

FACTS = NativeFacts(
    "ab" * 32,
    12,
    objects=(
        ObjectFacts(
            path="a.so",
            size=3,
            format="elf",
            needed=("libc.so.6",),
            versions_needed={"libc.so.6": ("GLIBC_2.28",)},
            python=PythonModule("a", "abi3", "PyInit_a"),
            device_code=(DeviceCode("amd", "code-object", "gfx90a", ("xnack+",), 2, 7, "6", True),),
            units=(Units((0,), 2, ".hip_fatbin"),),
        ),
    ),
    symlinks=(Symlink("b.so", "a.so", "LINKS"),),
    duplicates=(("c.so", "d.so"),),
)


def test_round_trip() -> None:
    """What was encoded is decoded to the same value; every key is there, also where it is empty."""
    assert decode_facts(encode_facts(FACTS)) == FACTS
    assert encode_facts(NativeFacts(None, 0)) == (
        b'{"sha256":null,"size":0,"schema":2,"objects":[],"symlinks":[],"duplicates":[],"damaged":[]}'
    )


def test_other_text_is_no_facts() -> None:
    """Text of another schema, of another shape, or cut off, is none."""
    text = encode_facts(FACTS)
    assert decode_facts(text.replace(b'"schema":2', b'"schema":999')) is None
    assert decode_facts(b"[]") is None
    assert decode_facts(text[:-1]) is None


def test_natural_order() -> None:
    """Numbers in names are numbers, and the last two places of AMD's are hexadecimal."""
    for names in (
        ("gfx9-4-generic", "gfx906", "gfx90a", "gfx942", "gfx1030", "gfx1100"),
        ("sm_75", "sm_90", "sm_90a", "sm_100"),
    ):
        assert tuple(sorted(names, key=str)) != names
        assert tuple(sorted(names, key=natural)) == names
