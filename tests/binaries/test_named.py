"""Targets that only file names state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.binaries.named import target_of_name
from gpuenv.model.architecture import AMD_PROCESSORS


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("rocblas/library/TensileLibrary_Type_HH_Contraction_l_Ailk_Bljk_Cijk_Dijk_gfx942.dat", "gfx942"),
        ("rocblas/library/TensileLibrary_Type_HH_Contraction_l_Ailk_Bljk_Cijk_Dijk_fallback_gfx1030.hsaco", "gfx1030"),
        ("rocblas/library/TensileLibrary_lazy_gfx906.dat", "gfx906"),
        ("hipblaslt/library/Kernels.so-000-gfx90a-xnack+.hsaco", "gfx90a:xnack+"),
        ("hipblaslt/library/Kernels.so-000-gfx90a_xnack-.hsaco", "gfx90a:xnack-"),
        ("hipblaslt/library/Kernels.so-000-gfx90a:xnack+:sramecc-.hsaco", "gfx90a:sramecc-:xnack+"),
        ("hipblaslt/library/extop_gfx942.co", "gfx942"),
        ("hipblaslt/library/extop_gfx1250-strict.co", "gfx1250-strict"),
        ("library/gfx1100/TensileLibrary_Type_HH_fallback.dat", "gfx1100"),
        ("gfx942/library/gfx1100/TensileLibrary_Type_HH_fallback.dat", "gfx1100"),
        ("library/gfx942-xnack+/TensileLibrary.co", "gfx942:xnack+"),
        ("library/gfx1100/TensileLibrary_gfx1101.co", "gfx1101"),
        ("share/miopen/db/gfx942.kdb", "gfx942"),
        ("share/miopen/db/gfx90878.db.txt", "gfx908"),
        ("share/miopen/db/gfx942130.HIP.fdb.txt", "gfx942"),
        ("share/miopen/db/gfx1030_36.HIP.fdb.txt", "gfx1030"),
        ("share/miopen/db/gfx90a68.db", "gfx90a"),
        ("lib/aotriton.images/amd-gfx942/flash/attn_fwd/kernel.aks2", "gfx942"),
        (".kpack/torch_gfx90a:xnack+.kpack", "gfx90a:xnack+"),
        ("kernels_gfx9-4-generic.co", "gfx9-4-generic"),
        ("kernels_gfx1310.co", "gfx1310"),
    ],
)
def test_real_names_state_their_target(path: str, target: str) -> None:
    """Names as rocBLAS, hipBLASLt, MIOpen, AOTriton and kpack write them give target and features."""
    arch, *features = target.split(":")
    assert target_of_name(path) == (arch, tuple(features))


@pytest.mark.parametrize(
    "path",
    [
        "README-gfx942.md",
        "gfx942/notes.txt",
        "libfoo_gfx942.so",
        "TensileLibrary_Type_HH_fallback.dat",
        "hipblasltExtOpLibrary.dat",
        "both_gfx942_gfx90a.dat",
        "notgfx942.dat",
        "gfx942a7x.dat",
        "gfx11xx.dat",
        "lib/aotriton.images/amd-gfx11xx/flash/kernel.aks2",
        "gfx9421300.db",
        "gfx94.co",
        "",
        "/",
    ],
)
def test_other_names_state_none(path: str) -> None:
    """Prose, host libraries, names without a target, with two, or with a family only say nothing."""
    assert target_of_name(path) is None


@given(st.sampled_from(sorted(AMD_PROCESSORS.values())))
def test_every_known_target_is_found(name: str) -> None:
    """Whatever LLVM knows is found behind an underscore, and as a folder."""
    assert target_of_name(f"kernels_{name}.co") == (name, ())
    assert target_of_name(f"library/{name}/fallback.dat") == (name, ())


@given(st.text(max_size=60))
def test_any_text_is_a_name(text: str) -> None:
    """No name raises, and what comes out holds no odd characters."""
    found = target_of_name(text + ".co")
    assert found is None or found[0].isprintable()


def test_no_processor_begins_like_another() -> None:
    """MIOpen writes compute units right behind the processor: `gfx90878` can be split in one way only."""
    names = [name for name in AMD_PROCESSORS.values() if "-" not in name]
    assert [(one, two) for one in names for two in names if one != two and two.startswith(one)] == []
