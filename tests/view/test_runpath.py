"""Which binaries get a search path of their own, what it says, and what is left to preloading."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from gpuenv.model.facts import DeviceCode, NativeFacts, ObjectFacts
from gpuenv.model.target import Target
from gpuenv.view.preload import Installed, preload_list
from gpuenv.view.runpath import Routes, is_program, rerouted, routes
from tests.view.support import binary, module

GLIBC, MUSL = Target("t"), Target("m", glibc=None, musl="1.2")
SITE = "lib/python3.13t/site-packages"
LD = "/lib64/ld-linux-x86-64.so.2"


def program(path: str, *needed: str, **options: Any) -> ObjectFacts:
    """What the kernel starts."""
    return binary(path, *needed, **{"soname": None, "type": "executable", "interpreter": LD, **options})


def dist(
    name: str,
    *objects: ObjectFacts,
    libraries: Mapping[str, tuple[str, ...]] | None = None,
    target: Target = GLIBC,
    **options: Any,
) -> Installed:
    """A distribution with one module of its own name."""
    return Installed(name, NativeFacts(None, 1, objects=objects), target, (name,), libraries=libraries or {}, **options)


def led(*distributions: Installed, everywhere: Iterable[str] = (), **options: Any) -> Routes:
    return routes({one.name: one for one in distributions}, SITE, everywhere=frozenset(everywhere), **options)


def texts(found: Routes) -> dict[str, dict[str, tuple[str, ...]]]:
    """What is added, as text."""
    return {
        name: {path: tuple(one.text for one in entries) for path, entries in paths.items()}
        for name, paths in found.added.items()
    }


BLAS = dist("blas", binary("vendor/blas/lib/libblas.so.13"))
DNN = dist("dnn", binary("vendor/dnn/lib/libdnn.so.9", "libblas.so.13"), libraries={"blas": ("libblas.so.13",)})


def user(*objects: ObjectFacts, **options: Any) -> Installed:
    """A distribution to which the library of `dnn` is bound."""
    return dist("user", *objects, libraries={"dnn": ("libdnn.so.9",)}, **options)


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        ("user-1.0.data/scripts/tool", f"$ORIGIN/../{SITE}/vendor/dnn/lib"),
        ("user-1.0.data/data/libexec/deep/tool", f"$ORIGIN/../../{SITE}/vendor/dnn/lib"),
        ("user/bin/tool", "$ORIGIN/../../vendor/dnn/lib"),
        ("tool", "$ORIGIN/vendor/dnn/lib"),
        ("vendor/dnn/bin/tool", "$ORIGIN/../lib"),
        ("vendor/dnn/lib/tool", "$ORIGIN"),
    ],
)
def test_entries(path: str, entry: str) -> None:
    """An entry leads from where a program lies in the view to the folder of its provider."""
    found = texts(led(user(program(path, "libdnn.so.9", "libc.so.6")), DNN, BLAS))
    assert found["user"] == {path: (entry,)}


def test_the_chain_is_led_too() -> None:
    """A library that a program loads, and that does not find what it needs, gets a search path as well."""
    found = texts(led(user(program("user/tool", "libdnn.so.9")), DNN, BLAS))
    assert found["dnn"] == {"vendor/dnn/lib/libdnn.so.9": ("$ORIGIN/../../blas/lib",)}


def test_what_is_loaded_before_needs_no_path() -> None:
    """What the program itself loads is there when its libraries need it: they stay as they are."""
    both = {"dnn": ("libdnn.so.9",), "blas": ("libblas.so.13",)}
    own = dist("user", program("user/tool", "libdnn.so.9", "libblas.so.13"), libraries=both)
    found = texts(led(own, DNN, BLAS))
    assert found == {"user": {"user/tool": ("$ORIGIN/../vendor/dnn/lib", "$ORIGIN/../vendor/blas/lib")}}


def test_what_paths_reach_stays() -> None:
    """Where a program's own path leads, and its DT_RPATH those whom it loads, nothing is added."""
    paths = ("$ORIGIN/../vendor/dnn/lib", "$ORIGIN/../vendor/blas/lib")
    assert texts(led(user(program("user/tool", "libdnn.so.9", rpath=paths)), DNN, BLAS)) == {}
    found = texts(led(user(program("user/tool", "libdnn.so.9", runpath=paths)), DNN, BLAS))
    assert found.keys() == {"dnn"}


def test_only_what_is_lacking_is_added() -> None:
    """A program that has a path to one of its providers gets an entry for the other one alone."""
    both = {"dnn": ("libdnn.so.9",), "blas": ("libblas.so.13",)}
    tool = program("user/tool", "libdnn.so.9", "libblas.so.13", runpath=("$ORIGIN/../vendor/dnn/lib",))
    found = texts(led(dist("user", tool, libraries=both), DNN, BLAS))
    assert found == {"user": {"user/tool": ("$ORIGIN/../vendor/blas/lib",)}}


def test_a_new_runpath_makes_up_for_the_rpath_that_no_longer_counts() -> None:
    """A library that profited by the DT_RPATH of its loader is led to all that it needs, not to the new need alone."""
    mid = binary("user/lib/libmid.so", "libdnn.so.9", "libnear.so")
    near = binary("user/near/libnear.so")
    own = user(program("user/tool", "libmid.so", rpath=("$ORIGIN/lib", "$ORIGIN/near")), mid, near)
    found = texts(led(own, DNN, BLAS))["user"]
    assert found == {"user/lib/libmid.so": ("$ORIGIN/../../vendor/dnn/lib", "$ORIGIN/../near")}


def test_modules_are_left_to_preloading() -> None:
    """A module is no program: nothing is added, and what it needs is opened before its import."""
    own = user(module("user/core.so", "libdnn.so.9"))
    found = led(own, DNN, BLAS)
    assert found == Routes({})
    everybody = {one.name: one for one in (own, DNN, BLAS)}
    assert preload_list(rerouted(everybody, found.added)) == preload_list(everybody) != {}


@pytest.mark.parametrize("how", ["everywhere", "musl"])
def test_everything_that_preloading_would_have_served(how: str) -> None:
    """With `bind = "runpath"`, and on musl, modules are led as programs are, and nothing is opened before imports."""
    target = MUSL if how == "musl" else GLIBC
    own = user(module("user/core.so", "libdnn.so.9"), target=target)
    everybody = {one.name: one for one in (own, DNN, BLAS)}
    found = led(*everybody.values(), everywhere=["user"] if how == "everywhere" else ())
    assert texts(found).keys() == {"user", "dnn"}
    assert preload_list(rerouted(everybody, found.added)) == {}


def test_programs_open_nothing_before_imports() -> None:
    """Libraries that programs alone need are not opened in processes of Python."""
    outside = program("user-1.0.data/scripts/tool", "libdnn.so.9")
    everybody = {one.name: one for one in (user(outside, module("user/core.so")), DNN, BLAS)}
    assert preload_list(everybody).keys() == {"user", "dnn"}
    assert preload_list(rerouted(everybody, {})).keys() == {"dnn"}


def test_libraries_outside_site_packages_are_modelled_as_well() -> None:
    """A library in the environment's `lib/` is led by an entry with the Python in it, and is not opened before."""
    own = user(module("user/core.so", "libown.so"), binary("user-1.0.data/data/lib/libown.so", "libdnn.so.9"))
    everybody = {one.name: one for one in (own, DNN, BLAS)}
    found = led(*everybody.values(), everywhere=["user"])
    (entry,) = texts(found)["user"]["user-1.0.data/data/lib/libown.so"]
    assert entry == "$ORIGIN/python3.13t/site-packages/vendor/dnn/lib"
    assert preload_list(rerouted(everybody, found.added)) == {}


AMD = (DeviceCode("amd", "code-object", "gfx942"),)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (program("user/tool", "libdnn.so.9", device_code=AMD), "code for AMD's GPUs, is never changed"),
        (program("user/tool", "libdnn.so.9", soname="librocblas.so.5"), "a binary of ROCm"),
    ],
)
def test_never_changed(own: ObjectFacts, words: str) -> None:
    """Programs with code for AMD's GPUs, or of ROCm, are left as they are; that they will fail is said."""
    found = led(user(own), DNN, BLAS)
    assert "user" not in found.added
    (dead,) = found.dead
    assert dead.words.startswith("user: user/tool will not find libdnn.so.9 of dnn: ")
    assert words in dead.words


def test_a_library_of_the_chain_that_must_stay() -> None:
    """The warning names the library that stays, and the program that loads it; modules are not warned about."""
    tool = program("user/tool", "libdnn.so.9")
    found = led(user(tool), DNN, BLAS, fixed=lambda name, _: "it is signed" if name == "dnn" else None)
    (dead,) = found.dead
    assert dead.words == (
        "dnn: vendor/dnn/lib/libdnn.so.9, which user/tool loads, will not find libblas.so.13 of blas: it is signed"
    )
    quiet = led(user(module("user/core.so", "libdnn.so.9")), DNN, BLAS, everywhere=["user"], fixed=lambda *_: "no")
    assert quiet == Routes({})


def test_what_no_entry_can_say() -> None:
    """A provider whose file has another name than its SONAME, or a folder that no entry can name, cannot be led to."""
    other = dist("dnn", binary("vendor/dnn.so", soname="libdnn.so.9"))
    (dead,) = led(user(program("user/tool", "libdnn.so.9")), other).dead
    assert dead.reason == "no file has that name, in a folder that a search path can name"
    colon = dist("dnn", binary("a:b/libdnn.so.9"))
    assert led(user(program("user/tool", "libdnn.so.9")), colon).dead == (dead,)


def test_libraries_of_the_machine() -> None:
    """A library in a folder of the machine where the loader does not look is no help to a program: that is said."""
    own = user(program("user/tool", "libhost.so.1"), hosted={"libhost.so.1": "/opt/vendor/lib/libhost.so.1"})
    (dead,) = led(own, DNN, BLAS).dead
    assert dead.words == (
        "user: user/tool will not find libhost.so.1: it lies in /opt/vendor/lib, where the loader does not look"
    )


def test_programs() -> None:
    """Position-independent programs are programs whatever their linker marked; a libc that can be started is not."""
    assert is_program(program("tool"))
    assert is_program(program("tool", type="shared"))
    assert not is_program(program("libc.so.6", type="shared", soname="libc.so.6"))
    assert not is_program(program("static", interpreter=None))
    assert not is_program(module("core.so"))
