"""What decode refuses: the exact message, the line it points at, and the hint."""

import pytest

from gpuenv.errors import ManifestError
from gpuenv.manifest.decode import decode
from gpuenv.model.requirement import InvalidRequirement, parse_requirement

HEAD = '[project]\nname = "train"\n'
TARGET = HEAD + "[tool.gpuenv.targets.mi300]\n"
INDEX = HEAD + "[[tool.gpuenv.index]]\n"
SOURCES = HEAD + "[tool.gpuenv.sources]\n"
SETTINGS = HEAD + "[tool.gpuenv]\n"
PROVIDERS = HEAD + "[tool.gpuenv.providers]\n"
TORCH = HEAD + "[tool.gpuenv.packages.torch]\n"
EXTRAS = HEAD + "[tool.gpuenv.default-extras]\n"
OTHERS = HEAD + "[tool.gpuenv.alternatives]\n"
MAC = TARGET + 'platform = "macos-arm64"\n'
GPU = TARGET + 'gpu = ["sm_90"]\n'
KEYS = (
    "known: `targets`, `index`, `sources`, `constraints`, `overrides`, `exclude-newer`, `default-groups`, `python`, "
    "`native`, `scan`, `strict-host`, `one-runtime`, `providers`, `packages`, `development-links`, `pack`, "
    "`default-extras`, `alternatives`, `variants`"
)
with pytest.raises(InvalidRequirement) as _words:
    parse_requirement("a b")
SPECIFIER = str(_words.value).partition("\n")[0]  # the words of `packaging`, which change

# (text, message, causes without the file name of the first, hints)
REFUSED = [
    ('[project]\nversion = "1"\n', "project: needs a `name`", ("1: [project]",), ()),
    ("project = 3\n", "project: must be a table, not an integer", ("1: project = 3",), ()),
    (
        '[project]\nname = "-x-"\n',
        "project.name: `-x-` is not a valid project name",
        ('2: name = "-x-"',),
        ("letters and digits, with `.`, `_` and `-` between",),
    ),
    ('[project]\nname = ["x"]\n', "project.name: must be a string, not an array", ('2: name = ["x"]',), ()),
    (
        HEAD + 'requires-python = "3.11+"\n',
        "project.requires-python: `3.11+` is not a version specifier (PEP 440)",
        ('3: requires-python = "3.11+"',),
        (),
    ),
    (
        HEAD + "requires-python = 3.11\n",
        "project.requires-python: must be a string, not a float",
        ("3: requires-python = 3.11",),
        ("put the value in quotes",),
    ),
    (
        HEAD + 'dependancies = ["torch"]\n',
        "project.dependancies: unknown key",
        ('3: dependancies = ["torch"]',),
        ("did you mean `dependencies`?",),
    ),
    (
        HEAD + 'dependencies = "torch"\n',
        "project.dependencies: must be an array, not a string",
        ('3: dependencies = "torch"',),
        ('write `["torch"]`',),
    ),
    (
        HEAD + 'dependencies = [\n  "numpy",\n  "torch >>2",\n]\n',
        "project.dependencies[1]: `torch >>2` is not a requirement (PEP 508)",
        ('5: "torch >>2",', SPECIFIER),
        (),
    ),
    (
        HEAD + 'dependencies = [\'numpy; "a" == "b"\']\n',
        'project.dependencies[0]: `numpy; "a" == "b"` is not a requirement (PEP 508)',
        ('3: dependencies = [\'numpy; "a" == "b"\']', "'b' is nothing that a marker compares with"),
        (),
    ),
    (
        HEAD + "dependencies = ['numpy; os_name ~= \"x\"']\n",
        'project.dependencies[0]: `numpy; os_name ~= "x"` is not a requirement (PEP 508)',
        ("3: dependencies = ['numpy; os_name ~= \"x\"']", "Undefined <Op('~=')> on 'posix' and 'x'."),
        (),
    ),
    (
        HEAD + 'dependencies = ["numpy", 3]\n',
        "project.dependencies[1]: must be a string, not an integer",
        ('3: dependencies = ["numpy", 3]',),
        ("put the value in quotes",),
    ),
    (HEAD + 'dependencies = [""]\n', "project.dependencies[0]: is empty", ('3: dependencies = [""]',), ()),
    (
        HEAD + 'dynamic = ["version", "dependencies"]\n',
        "project.dynamic[1]: `dependencies` cannot be dynamic: gpuenv locks what pyproject.toml says",
        ('3: dynamic = ["version", "dependencies"]',),
        ("write `dependencies` into [project]",),
    ),
    (
        HEAD + '[project.optional-dependencies]\ngpu = ["torch"]\nGPU = ["numpy"]\n',
        "project.optional-dependencies.GPU: is the same extra as `gpu`",
        ('5: GPU = ["numpy"]',),
        (),
    ),
    (
        HEAD + 'dependencies = ["train[gup]"]\n[project.optional-dependencies]\ngpu = ["torch"]\n',
        "project.dependencies[0]: `train` has no extra `gup`",
        ('3: dependencies = ["train[gup]"]',),
        ("did you mean `gpu`?",),
    ),
    (
        HEAD + '[dependency-groups]\ndev = [{ include-group = "tset" }]\ntest = ["pytest"]\n',
        "dependency-groups.dev[0].include-group: unknown group `tset`",
        ('4: dev = [{ include-group = "tset" }]',),
        ("did you mean `test`?",),
    ),
    (
        HEAD + '[dependency-groups]\na = [{ include-group = "b" }]\nb = ["x", { include-group = "a" }]\n',
        "dependency-groups.b[1].include-group: groups include each other: a -> b -> a",
        ('5: b = ["x", { include-group = "a" }]',),
        (),
    ),
    (
        HEAD + '[dependency-groups]\ndev = [{ group = "test" }]\n',
        "dependency-groups.dev[0].group: unknown key",
        ('4: dev = [{ group = "test" }]',),
        ("known: `include-group`",),
    ),
    (
        HEAD + "[dependency-groups]\ndev = [{}]\n",
        "dependency-groups.dev[0]: must be a requirement or `{ include-group = … }`",
        ("4: dev = [{}]",),
        (),
    ),
    (
        HEAD + '[dependency-groups]\ndev = "pytest"\n',
        "dependency-groups.dev: must be an array, not a string",
        ('4: dev = "pytest"',),
        ('write `["pytest"]`',),
    ),
    (HEAD + "[tool]\ngpuenv = true\n", "tool.gpuenv: must be a table, not true or false", ("4: gpuenv = true",), ()),
    (
        SETTINGS + 'exclude-newr = "7 days"\n',
        "tool.gpuenv.exclude-newr: unknown key",
        ('4: exclude-newr = "7 days"',),
        ("did you mean `exclude-newer`?",),
    ),
    (SETTINGS + 'link-mode = "copy"\n', "tool.gpuenv.link-mode: unknown key", ('4: link-mode = "copy"',), (KEYS,)),
    (
        SETTINGS + 'exclude-newer = "soon"\n',
        "tool.gpuenv.exclude-newer: `soon` is neither an instant nor a span",
        ('4: exclude-newer = "soon"',),
        ("an instant like `2026-11-01T00:00:00Z`, a day like `2026-11-01`, or a span like `7 days` or `P7D`",),
    ),
    (
        SETTINGS + "exclude-newer = 2026-11-01T00:00:00\n",
        "tool.gpuenv.exclude-newer: has no offset from UTC, so it means another instant on every machine",
        ("4: exclude-newer = 2026-11-01T00:00:00",),
        ("append `Z`",),
    ),
    (
        SETTINGS + 'exclude-newer = "2026-13-01"\n',
        "tool.gpuenv.exclude-newer: `2026-13-01` is neither an instant nor a span",
        ('4: exclude-newer = "2026-13-01"',),
        ("an instant like `2026-11-01T00:00:00Z`, a day like `2026-11-01`, or a span like `7 days` or `P7D`",),
    ),
    (
        SETTINGS + 'exclude-newer = "0 days"\n',
        "tool.gpuenv.exclude-newer: `0 days` is not a useful span",
        ('4: exclude-newer = "0 days"',),
        ("an instant like `2026-11-01T00:00:00Z`, a day like `2026-11-01`, or a span like `7 days` or `P7D`",),
    ),
    (
        SETTINGS + "exclude-newer = 7\n",
        "tool.gpuenv.exclude-newer: must be a string or a time, not an integer",
        ("4: exclude-newer = 7",),
        ("an instant like `2026-11-01T00:00:00Z`, a day like `2026-11-01`, or a span like `7 days` or `P7D`",),
    ),
    (
        SETTINGS + 'default-groups = ["tests"]\n[dependency-groups]\ntest = []\n',
        "tool.gpuenv.default-groups[0]: unknown group `tests`",
        ('4: default-groups = ["tests"]',),
        ("did you mean `test`?",),
    ),
    (
        SETTINGS + 'python = "2.7"\n',
        "tool.gpuenv.python: `2.7` is not a Python version",
        ('4: python = "2.7"',),
        ("for example `3.12`, `3.12.4` or `3.13t`",),
    ),
    (
        SETTINGS + 'python = "3.8"\n',
        "tool.gpuenv.python: Python 3.8 is not supported",
        ('4: python = "3.8"',),
        ("Python 3.9 to 3.14",),
    ),
    (
        SETTINGS + "python = 3.10\n",
        "tool.gpuenv.python: must be a string, not a float",
        ("4: python = 3.10",),
        ("put the value in quotes",),
    ),
    (
        SETTINGS + 'python = "3.12t"\n',
        "tool.gpuenv.python: there is no free-threaded Python 3.12",
        ('4: python = "3.12t"',),
        ("`3.13t` is the first",),
    ),
    (
        HEAD + 'requires-python = ">=3.15"\n',
        "tool.gpuenv.targets: no `python`, and `requires-python` (`>=3.15`) admits no X.Y.0 of Python 3.9 to 3.14",
        (),
        ('name one, for example `python = "3.12.4"`',),
    ),
    (
        SETTINGS + 'native = "libopenblas.so.0"\n',
        "tool.gpuenv.native: must be an array, not a string",
        ('4: native = "libopenblas.so.0"',),
        ('write `["libopenblas.so.0"]`',),
    ),
    (
        EXTRAS + 'torch = ["device-gfx942"]\n',
        "tool.gpuenv.default-extras.torch: must be a table, not an array",
        ('4: torch = ["device-gfx942"]',),
        (),
    ),
    (
        EXTRAS + 'torch = { nvida = ["cuda"] }\n',
        "tool.gpuenv.default-extras.torch.nvida: unknown selector `nvida`",
        ('4: torch = { nvida = ["cuda"] }',),
        ("did you mean `nvidia`?",),
    ),
    (
        EXTRAS + 'torch = { sm_90a = ["cuda"] }\n',
        "tool.gpuenv.default-extras.torch.sm_90a: unknown selector `sm_90a`",
        ('4: torch = { sm_90a = ["cuda"] }',),
        ("did you mean `sm_90`?",),
    ),
    (
        EXTRAS + 'torch = { "!" = ["cuda"] }\n',
        'tool.gpuenv.default-extras.torch."!": unknown selector `!`',
        ('4: torch = { "!" = ["cuda"] }',),
        ("like `gfx942`, `sm_9x`, `amd`, `linux` or `any`",),
    ),
    (
        EXTRAS + 'torch = { "gfx90a:xnack+:sramecc-" = ["x"], "gfx90a:sramecc-:xnack+" = ["y"] }\n',
        'tool.gpuenv.default-extras.torch."gfx90a:sramecc-:xnack+": is the same selector as `gfx90a:xnack+:sramecc-`',
        ('4: torch = { "gfx90a:xnack+:sramecc-" = ["x"], "gfx90a:sramecc-:xnack+" = ["y"] }',),
        (),
    ),
    (
        EXTRAS + 'torch = { amd = "device-gfx942" }\n',
        "tool.gpuenv.default-extras.torch.amd: must be an array, not a string",
        ('4: torch = { amd = "device-gfx942" }',),
        ('write `["device-gfx942"]`',),
    ),
    (
        EXTRAS + 'torch = { amd = ["device-{gfy}"] }\n',
        "tool.gpuenv.default-extras.torch.amd[0]: `{gfy}` is not a placeholder",
        ('4: torch = { amd = ["device-{gfy}"] }',),
        ("did you mean `gfx`?",),
    ),
    (
        EXTRAS + 'torch = { amd = ["a b"] }\n',
        "tool.gpuenv.default-extras.torch.amd[0]: `a b` is not a valid extra",
        ('4: torch = { amd = ["a b"] }',),
        (),
    ),
    (
        EXTRAS + 'torch = { amd = ["{gfx"] }\n',
        "tool.gpuenv.default-extras.torch.amd[0]: `{gfx` is not a valid extra",
        ('4: torch = { amd = ["{gfx"] }',),
        (),
    ),
    (
        EXTRAS + "Torch = {}\ntorch = {}\n",
        "tool.gpuenv.default-extras.torch: is the same package name as `Torch`",
        ("5: torch = {}",),
        (),
    ),
    (
        OTHERS + 'a = { any = "b[x]>=2" }\n',
        "tool.gpuenv.alternatives.a.any: is more than a name and versions",
        ('4: a = { any = "b[x]>=2" }',),
        ("the extras are those required: `b>=2`",),
    ),
    (
        OTHERS + 'a = { any = "a>=2" }\n',
        "tool.gpuenv.alternatives.a.any: states versions of a itself",
        ('4: a = { any = "a>=2" }',),
        ('write `"a"` to keep it; versions for all stand in `constraints`',),
    ),
    (
        OTHERS + 'a = { any = "b" }\nb = { linux = "c" }\nc = { any = "b" }\n',
        "tool.gpuenv.alternatives.a: leads in a circle on target default: a -> b -> c -> b",
        ('4: a = { any = "b" }',),
        (),
    ),
    (
        GPU.replace('"sm_90"', '"sm_80", "sm_90"') + '[tool.gpuenv.alternatives]\na = { sm_90 = "b" }\n',
        "tool.gpuenv.alternatives.a: says a on sm_80, b on sm_90: GPUs of one target, mi300",
        ('6: a = { sm_90 = "b" }',),
        ("split target mi300: one for each of them",),
    ),
    (
        SETTINGS + 'constraints = ["numpy[]<2"]\n',
        "tool.gpuenv.constraints[0]: a constraint cannot ask for extras",
        ('4: constraints = ["numpy[]<2"]',),
        ("put it into `dependencies`",),
    ),
    (
        SETTINGS + 'constraints = ["numpy[x]<2"]\n',
        "tool.gpuenv.constraints[0]: a constraint cannot ask for extras",
        ('4: constraints = ["numpy[x]<2"]',),
        ("put it into `dependencies`",),
    ),
    (
        SETTINGS + 'overrides = ["numpy=2"]\n',
        "tool.gpuenv.overrides[0]: `numpy=2` is not a requirement (PEP 508)",
        ('4: overrides = ["numpy=2"]', SPECIFIER),
        (),
    ),
    (
        HEAD + "[tool.gpuenv.targets.MI300]\n",
        "tool.gpuenv.targets.MI300: `MI300` is not a target name",
        ("3: [tool.gpuenv.targets.MI300]",),
        ("lower-case letters, digits, `.`, `_` and `-`, the first a letter or a digit",),
    ),
    (
        SETTINGS + 'targets = ["mi300"]\n',
        "tool.gpuenv.targets: must be a table, not an array",
        ('4: targets = ["mi300"]',),
        (),
    ),
    (
        TARGET + 'gpus = ["gfx942"]\n',
        "tool.gpuenv.targets.mi300.gpus: unknown key",
        ('4: gpus = ["gfx942"]',),
        ("did you mean `gpu`?",),
    ),
    (
        TARGET + 'platform = "linux-x86-64"\n',
        "tool.gpuenv.targets.mi300.platform: unknown platform `linux-x86-64`",
        ('4: platform = "linux-x86-64"',),
        ("did you mean `linux-x86_64`?",),
    ),
    (
        TARGET + 'platform = "linux-x86_64"\nmacos = "14.0"\n',
        "tool.gpuenv.targets.mi300.macos: `linux-x86_64` has no macos",
        ('5: macos = "14.0"',),
        ("remove it, or change `platform`",),
    ),
    (
        TARGET + 'gpu = "gfx942"\n',
        "tool.gpuenv.targets.mi300.gpu: must be an array, not a string",
        ('4: gpu = "gfx942"',),
        ('write `["gfx942"]`',),
    ),
    (
        TARGET + 'gpu = [\n  "gfx90a",\n  "gfx-942",\n]\n',
        "tool.gpuenv.targets.mi300.gpu[1]: `gfx-942` is not a GPU architecture",
        ('6: "gfx-942",',),
        ("did you mean `gfx942`?",),
    ),
    (
        TARGET + 'gpu = ["compute_90"]\n',
        "tool.gpuenv.targets.mi300.gpu[0]: `compute_90` is not a GPU architecture",
        ('4: gpu = ["compute_90"]',),
        ("did you mean `sm_90`?",),
    ),
    (
        TARGET + 'gpu = ["9.0"]\n',
        "tool.gpuenv.targets.mi300.gpu[0]: `9.0` is not a GPU architecture",
        ('4: gpu = ["9.0"]',),
        ("did you mean `sm_90`?",),
    ),
    (
        TARGET + 'gpu = ["MI300X"]\n',
        "tool.gpuenv.targets.mi300.gpu[0]: `MI300X` is not a GPU architecture",
        ('4: gpu = ["MI300X"]',),
        ("did you mean `gfx942`?",),
    ),
    (
        TARGET + 'gpu = ["fast"]\n',
        "tool.gpuenv.targets.mi300.gpu[0]: `fast` is not a GPU architecture",
        ('4: gpu = ["fast"]',),
        ("like `sm_90` (NVIDIA) or `gfx942` (AMD); `gpuenv target detect` shows this machine's",),
    ),
    (
        TARGET + 'gpu = ["sm_90", "gfx942"]\n',
        "tool.gpuenv.targets.mi300.gpu: a target has GPUs of one vendor",
        ('4: gpu = ["sm_90", "gfx942"]',),
        ("make one target for `sm_*` and one for `gfx*`",),
    ),
    (
        TARGET + 'gpu = ["gfx942"]\ncuda = "13.0"\n',
        "tool.gpuenv.targets.mi300.cuda: is for NVIDIA GPUs, but `gpu` says gfx942",
        ('5: cuda = "13.0"',),
        ("a target has one vendor",),
    ),
    (
        TARGET + 'gpu = ["sm_90"]\nrocm = "7.2"\n',
        "tool.gpuenv.targets.mi300.rocm: is for AMD GPUs, but `gpu` says sm_90",
        ('5: rocm = "7.2"',),
        ("a target has one vendor",),
    ),
    (
        TARGET + 'rocm = "7.2"\ncuda = "13.0"\n',
        "tool.gpuenv.targets.mi300.cuda: is for NVIDIA GPUs, but `rocm` is set too",
        ('5: cuda = "13.0"',),
        ("a target has one vendor",),
    ),
    (
        TARGET + "cuda = 13.0\n",
        "tool.gpuenv.targets.mi300.cuda: must be a string, not a float",
        ("4: cuda = 13.0",),
        ("put the value in quotes",),
    ),
    (
        TARGET + 'cuda = "13"\n',
        "tool.gpuenv.targets.mi300.cuda: `13` is not a CUDA version",
        ('4: cuda = "13"',),
        ("for example `13.0`",),
    ),
    (
        TARGET + 'driver = "new"\n',
        "tool.gpuenv.targets.mi300.driver: `new` is not an NVIDIA driver version",
        ('4: driver = "new"',),
        ("for example `580.65`",),
    ),
    (
        TARGET + 'glibc = "2.28"\nmusl = "1.2"\n',
        "tool.gpuenv.targets.mi300.musl: a target has glibc or musl, not both",
        ('5: musl = "1.2"',),
        (),
    ),
    (
        TARGET + 'glibc = "3"\n',
        "tool.gpuenv.targets.mi300.glibc: `3` is not a glibc version",
        ('4: glibc = "3"',),
        ("for example `2.28`",),
    ),
    (
        TARGET + 'glibc = "2.12"\nplatform = "linux-aarch64"\n',
        "tool.gpuenv.targets.mi300.glibc: no wheel is built for glibc older than 2.17 on linux-aarch64",
        ('4: glibc = "2.12"',),
        (),
    ),
    (
        TARGET + 'platform = "macos-arm64"\nglibc = "2.28"\n',
        "tool.gpuenv.targets.mi300.glibc: `macos-arm64` has no glibc",
        ('5: glibc = "2.28"',),
        ("remove it, or change `platform`",),
    ),
    (
        TARGET + 'cpu-fallback = "yes"\n',
        "tool.gpuenv.targets.mi300.cpu-fallback: must be true, false or an array of package names, not a string",
        ('4: cpu-fallback = "yes"',),
        ('write `["yes"]`',),
    ),
    (
        TARGET + 'dependencies = ["torch", "a b"]\n',
        "tool.gpuenv.targets.mi300.dependencies[1]: `a b` is not a requirement (PEP 508)",
        ('4: dependencies = ["torch", "a b"]', SPECIFIER),
        (),
    ),
    (
        HEAD + '[tool.gpuenv.index]\nname = "amd"\n',
        "tool.gpuenv.index: must be an array of tables, not a table",
        ("3: [tool.gpuenv.index]",),
        ("write `[[tool.gpuenv.index]]`",),
    ),
    (
        INDEX + 'url = "https://index.example/simple/"\n',
        "tool.gpuenv.index[0]: needs a `name`",
        ("3: [[tool.gpuenv.index]]",),
        (),
    ),
    (
        INDEX + 'name = "a b"\nurl = "https://index.example/"\n',
        "tool.gpuenv.index[0].name: `a b` is not an index name",
        ('4: name = "a b"',),
        ("for example `amd`",),
    ),
    (INDEX + 'name = "amd"\n', "tool.gpuenv.index[0]: needs `url` or `path`", ("3: [[tool.gpuenv.index]]",), ()),
    (
        INDEX + 'name = "amd"\nurl = "https://index.example/"\npath = "wheels"\n',
        "tool.gpuenv.index[0]: has both `url` and `path`",
        ("3: [[tool.gpuenv.index]]",),
        (),
    ),
    (
        INDEX + 'name = "amd"\nurl = "wheels/"\n',
        "tool.gpuenv.index[0].url: `wheels/` is not an http or https URL",
        ('5: url = "wheels/"',),
        ("for a folder, use `path`",),
    ),
    (
        INDEX + 'name = "amd"\npath = "https://index.example/"\n',
        "tool.gpuenv.index[0].path: `https://index.example/` is a URL, not a path",
        ('5: path = "https://index.example/"',),
        ("use `url`",),
    ),
    (
        INDEX + 'name = "amd"\nurl = "ftp://user:secret@index.example/"\n',
        "tool.gpuenv.index[0].url: `ftp://***@index.example/` is not an http or https URL",
        ('5: url = "ftp://***@index.example/"',),
        (),
    ),
    (
        INDEX + 'name = "a"\npath = "a"\n[[tool.gpuenv.index]]\nname = "a"\npath = "b"\n',
        "tool.gpuenv.index[1].name: there is an index `a` already",
        ('7: name = "a"',),
        (),
    ),
    (
        INDEX + 'name = "default"\npath = "a"\n',
        "tool.gpuenv.index[0].name: `default` is the name of the default index",
        ('4: name = "default"',),
        ("choose another name, or set `default = true` to replace the default index",),
    ),
    (
        INDEX
        + 'name = "a"\npath = "a"\ndefault = true\n[[tool.gpuenv.index]]\nname = "b"\npath = "b"\ndefault = true\n',
        "tool.gpuenv.index[1].default: `a` is the default index already",
        ("10: default = true",),
        (),
    ),
    (
        INDEX + 'name = "a"\npath = "a"\ndefault = true\ntargets = ["default"]\n',
        "tool.gpuenv.index[0].targets: the default index serves every package of every target",
        ('7: targets = ["default"]',),
        ("remove `targets`",),
    ),
    (
        TARGET + '[[tool.gpuenv.index]]\nname = "a"\npath = "a"\ntargets = ["mi30"]\n',
        "tool.gpuenv.index[0].targets[0]: unknown target `mi30`",
        ('7: targets = ["mi30"]',),
        ("did you mean `mi300`?",),
    ),
    (
        INDEX + 'name = "a"\npath = "a"\ntargets = []\n',
        "tool.gpuenv.index[0].targets: is empty",
        ("6: targets = []",),
        ("remove it: every target looks here then",),
    ),
    (
        INDEX + 'name = "a"\npath = "a"\npackages = ["torch>2"]\n',
        "tool.gpuenv.index[0].packages[0]: `torch>2` is not a name or a pattern of names",
        ('6: packages = ["torch>2"]',),
        ("for example `torch*`",),
    ),
    (
        INDEX + 'name = "a"\npath = "a"\nexplict = true\n',
        "tool.gpuenv.index[0].explict: unknown key",
        ("6: explict = true",),
        ("did you mean `explicit`?",),
    ),
    (
        INDEX + 'name = "amd"\npath = "a"\n[tool.gpuenv.sources]\ntorch = { index = "adm" }\n',
        "tool.gpuenv.sources.torch.index: unknown index `adm`",
        ('7: torch = { index = "adm" }',),
        ("did you mean `amd`?",),
    ),
    (
        TARGET + '[tool.gpuenv.sources]\ntorch = { index = "default", target = "m300" }\n',
        "tool.gpuenv.sources.torch.target: unknown target `m300`",
        ('5: torch = { index = "default", target = "m300" }',),
        ("did you mean `mi300`?",),
    ),
    (
        SOURCES + 'torch = { index = "default", url = "https://index.example/torch.whl" }\n',
        "tool.gpuenv.sources.torch: has more than one of `index`, `url` and `path`",
        ('4: torch = { index = "default", url = "https://index.example/torch.whl" }',),
        (),
    ),
    (
        SOURCES + 'torch = { target = "default" }\n',
        "tool.gpuenv.sources.torch: needs one of `index`, `url` and `path`",
        ('4: torch = { target = "default" }',),
        (),
    ),
    (
        SOURCES + 'torch = "default"\n',
        "tool.gpuenv.sources.torch: must be a table, not a string",
        ('4: torch = "default"',),
        (),
    ),
    (
        SOURCES + 'torch = [{ index = "default" }, { path = "torch-2.0-py3-none-any.whl" }]\n',
        "tool.gpuenv.sources.torch[1]: `torch` has a source for every target already",
        ('4: torch = [{ index = "default" }, { path = "torch-2.0-py3-none-any.whl" }]',),
        (),
    ),
    (
        SOURCES + 'torch = { path = "wheels/torch-2.0.tar.gz" }\n',
        "tool.gpuenv.sources.torch.path: `torch-2.0.tar.gz` is not the file name of a wheel or bundle",
        ('4: torch = { path = "wheels/torch-2.0.tar.gz" }',),
        ("torch-1.0-py3-none-any.whl",),
    ),
    (
        SOURCES + 'torch = { path = "wheels/numpy-2.0-py3-none-any.whl" }\n',
        "tool.gpuenv.sources.torch.path: is of `numpy`, not of `torch`",
        ('4: torch = { path = "wheels/numpy-2.0-py3-none-any.whl" }',),
        (),
    ),
    (
        SOURCES + 'Torch = { index = "default" }\ntorch = { index = "default" }\n',
        "tool.gpuenv.sources.torch: is the same package name as `Torch`",
        ('5: torch = { index = "default" }',),
        (),
    ),
    (
        SOURCES + 'torch = { git = "https://index.example/torch" }\n',
        "tool.gpuenv.sources.torch.git: unknown key",
        ('4: torch = { git = "https://index.example/torch" }',),
        ("known: `index`, `url`, `path`, `target`",),
    ),
    (
        INDEX + 'name = "corp"\npath = "a"\ndefault = true\n[tool.gpuenv.sources]\ntorch = { index = "default" }\n',
        "tool.gpuenv.sources.torch.index: unknown index `default`",
        ('8: torch = { index = "default" }',),
        ("known: `corp`",),
    ),
    ("name = train\n", "pyproject.toml is not TOML: invalid value", ("1:8\n    name = train\n           ^",), ()),
    ("", "pyproject.toml has no [project] table", (), ("gpuenv init",)),
    (
        "a = 1\n[project\n",
        "pyproject.toml is not TOML: expected ']' at the end of a table declaration",
        ("2:9\n    [project\n            ^",),
        (),
    ),
]


# what native code asks: the same, but the line that is quoted is the last one
NATIVE = [
    (
        SETTINGS + 'native = ["libcudart.so.13", "/usr/lib/libopenblas.so.0"]',
        "tool.gpuenv.native[1]: `/usr/lib/libopenblas.so.0` is not a soname",
        ("the file name alone: `libopenblas.so.0`",),
    ),
    (
        SETTINGS + 'native = ["openblas"]',
        "tool.gpuenv.native[0]: `openblas` is not a soname",
        ("for example `libopenblas.so.0`",),
    ),
    (
        SETTINGS + 'native = ["libQt*.so"]',
        "tool.gpuenv.native[0]: `libQt*.so` is not a soname",
        ("for example `libopenblas.so.0`",),
    ),
    (SETTINGS + 'scan = "gpus"', "tool.gpuenv.scan: unknown value `gpus`", ("did you mean `gpu`?",)),
    (SETTINGS + "scan = true", "tool.gpuenv.scan: must be a string, not true or false", ()),
    (SETTINGS + 'strict-host = "yes"', "tool.gpuenv.strict-host: must be true or false, not a string", ()),
    (
        SETTINGS + 'one-runtime = ["opemp"]',
        "tool.gpuenv.one-runtime[0]: unknown class of runtimes `opemp`",
        ("did you mean `openmp`?",),
    ),
    (
        SETTINGS + 'one-runtime = ["tbb"]',
        "tool.gpuenv.one-runtime[0]: unknown class of runtimes `tbb`",
        ("known: `cuda`, `cudnn`, `libstdc++`, `mpi`, `nccl`, `openmp`",),
    ),
    (
        SETTINGS + 'one-runtime = "openmp"',
        "tool.gpuenv.one-runtime: must be an array, not a string",
        ('write `["openmp"]`',),
    ),
    (
        PROVIDERS + 'libfoo.so.3 = "foo-libs"',
        "tool.gpuenv.providers.libfoo: must be a requirement or an array of them, not a table",
        ('quote the soname: `"libfoo.so.3" = …`',),
    ),
    (
        PROVIDERS + '"libfoo.so.3" = {}',
        'tool.gpuenv.providers."libfoo.so.3": must be a requirement or an array of them, not a table',
        ('quote the soname: `"libfoo.so.3" = …`',),
    ),
    (
        PROVIDERS + 'foo = "foo-libs"',
        "tool.gpuenv.providers.foo: `foo` is not a soname",
        ("for example `libopenblas.so.0`",),
    ),
    (
        PROVIDERS + '"libfoo.so.3" = []',
        'tool.gpuenv.providers."libfoo.so.3": is empty',
        ("remove it; what a machine has stands in `host-libraries` of its target",),
    ),
    (
        PROVIDERS + '"libfoo.so.3" = "foo-libs>=3; os_name == \'posix\'"',
        'tool.gpuenv.providers."libfoo.so.3": a provider has no marker: it is tried wherever the soname is needed',
        ("write `foo-libs>=3`",),
    ),
    (
        PROVIDERS + '"libfoo.so.3" = ["bar", "foo-libs[cuda]>=3"]',
        'tool.gpuenv.providers."libfoo.so.3"[1]: a provider has no extras: it carries the library itself',
        ("write `foo-libs>=3`",),
    ),
    (
        PROVIDERS + '"libfoo.so.3" = "foo-libs @ https://index.example/foo_libs-3-py3-none-any.whl"',
        'tool.gpuenv.providers."libfoo.so.3": a provider is no URL',
        ("write `foo-libs`, and where it comes from into [tool.gpuenv.sources]",),
    ),
    (SETTINGS + 'packages = ["torch"]', "tool.gpuenv.packages: must be a table, not an array", ()),
    (
        SETTINGS + "packages = { Torch = {}, torch = {} }",
        "tool.gpuenv.packages.torch: is the same package name as `Torch`",
        (),
    ),
    (
        TORCH + 'mising = ["libfoo.so"]',
        "tool.gpuenv.packages.torch.mising: unknown key",
        ("did you mean `missing`?",),
    ),
    (
        TORCH + 'missing = "libfoo.so"',
        "tool.gpuenv.packages.torch.missing: must be an array, not a string",
        ('write `["libfoo.so"]`',),
    ),
    (
        TORCH + 'missing = ["libfoo"]',
        "tool.gpuenv.packages.torch.missing[0]: `libfoo` is neither a soname nor a pattern of sonames",
        ("for example `libodbc.so.2` or `libQt*.so.*`",),
    ),
    (
        TORCH + 'missing = { "plugins/*.so" = ["lib/libfoo.so"] }',
        'tool.gpuenv.packages.torch.missing."plugins/*.so"[0]: '
        "`lib/libfoo.so` is neither a soname nor a pattern of sonames",
        ("the file name alone: `libfoo.so`",),
    ),
    (
        TORCH + 'missing = { "/plugins/*.so" = ["libfoo.so"] }',
        'tool.gpuenv.packages.torch.missing."/plugins/*.so": `/plugins/*.so` is not a pattern of paths in a wheel',
        ("relative to the root of the wheel, with `/`; for example `plugins/*.so`",),
    ),
    (
        TORCH + 'live = ["../*.so"]',
        "tool.gpuenv.packages.torch.live[0]: `../*.so` is not a pattern of paths in a wheel",
        ("relative to the root of the wheel, with `/`; for example `plugins/*.so`",),
    ),
    (
        TORCH + 'live = ["a.so", "b.so"]\ndormant = ["b.so"]',
        "tool.gpuenv.packages.torch.dormant[0]: `b.so` is in `live` too",
        ("a binary is loaded, or it never is",),
    ),
    (
        TORCH + 'gpu-code = "forbid"',
        "tool.gpuenv.packages.torch.gpu-code: unknown value `forbid`",
        ("known: `check`, `trust`",),
    ),
    (
        TORCH + 'bind = "link"',
        "tool.gpuenv.packages.torch.bind: unknown value `link`",
        ("known: `preload`, `runpath`",),
    ),
    (TORCH + "ptx = 1", "tool.gpuenv.packages.torch.ptx: must be true or false, not an integer", ()),
    (
        TARGET + 'host-libraries = ["lib/rocm"]',
        "tool.gpuenv.targets.mi300.host-libraries[0]: `lib/rocm` is not an absolute folder",
        ("for example `/opt/rocm/lib`",),
    ),
    (
        TARGET + 'host-libraries = ["/opt/rocm-*/lib"]',
        "tool.gpuenv.targets.mi300.host-libraries[0]: `/opt/rocm-*/lib` is not an absolute folder",
        ("for example `/opt/rocm/lib`",),
    ),
    (
        TARGET + 'host-libraries = ["/opt/../lib"]',
        "tool.gpuenv.targets.mi300.host-libraries[0]: `/opt/../lib` is not an absolute folder",
        ("for example `/opt/rocm/lib`",),
    ),
    (
        TARGET + 'host-libraries = ["/opt/rocm/lib/libamdhip64.so.7"]',
        "tool.gpuenv.targets.mi300.host-libraries[0]: `/opt/rocm/lib/libamdhip64.so.7` is a file",
        ("its folder, `/opt/rocm/lib`, or its soname, `libamdhip64.so.7`",),
    ),
    (
        TARGET + 'host-libraries = ["rocm"]',
        "tool.gpuenv.targets.mi300.host-libraries[0]: `rocm` is neither a soname nor a pattern of sonames",
        ("for example `libodbc.so.2` or `libQt*.so.*`",),
    ),
    (
        MAC + 'host-libraries = ["libfoo.so"]',
        "tool.gpuenv.targets.mi300.host-libraries: `macos-arm64` has no sonames",
        ("remove it, or change `platform`",),
    ),
    (
        TARGET + 'properties = ["intel :: device_ip"]',
        "tool.gpuenv.targets.mi300.properties[0]: `intel :: device_ip` is not a property",
        ("for example `intel :: device_ip :: 20.1.0`",),
    ),
    (
        TARGET + 'cpu = "x86_64-v3"',
        "tool.gpuenv.targets.mi300.cpu: unknown CPU level `x86_64-v3`",
        ("did you mean `x86-64-v3`?",),
    ),
    (
        MAC + 'cpu = "x86-64-v3"',
        "tool.gpuenv.targets.mi300.cpu: `macos-arm64` has no x86-64-v3",
        ("remove it, or change `platform`",),
    ),
    (MAC + 'cpu = "m4"', "tool.gpuenv.targets.mi300.cpu: unknown CPU level `m4`", ("known: `arm64`",)),
    (
        TARGET + "cpu-fallback = true",
        "tool.gpuenv.targets.mi300.cpu-fallback: says nothing: the target has no GPU",
        ('name them, `gpu = ["gfx942"]`, or remove `cpu-fallback`',),
    ),
    (
        GPU + 'cpu-fallback = ["a b"]',
        "tool.gpuenv.targets.mi300.cpu-fallback[0]: `a b` is not a valid package name",
        ("letters and digits, with `.`, `_` and `-` between",),
    ),
    (
        GPU + 'gpu-code = "forbid"',
        "tool.gpuenv.targets.mi300.gpu-code: forbids the code for sm_90 that `gpu` asks for",
        ("remove `gpu-code` or `gpu`",),
    ),
    (
        TARGET + 'gpu-code = "trust"',
        "tool.gpuenv.targets.mi300.gpu-code: unknown value `trust`",
        ("known: `allow`, `forbid`",),
    ),
    (
        TARGET + "ptx = false",
        "tool.gpuenv.targets.mi300.ptx: says nothing: the target has no GPU",
        ('name them, `gpu = ["sm_90"]`, or remove `ptx`',),
    ),
    (
        TARGET + 'gpu = ["gfx942"]\nptx = false',
        "tool.gpuenv.targets.mi300.ptx: is for NVIDIA GPUs, but `gpu` says gfx942",
        ("remove `ptx`",),
    ),
    (
        TARGET + 'gpu = ["gfx90a:xnack"]',
        "tool.gpuenv.targets.mi300.gpu[0]: `gfx90a:xnack` is not a GPU architecture",
        ("a feature is on or off: `gfx90a:xnack+`, `gfx90a:xnack-`",),
    ),
    (
        TARGET + 'gpu = ["gfx90a:xnack+:xnack-"]',
        "tool.gpuenv.targets.mi300.gpu[0]: `gfx90a:xnack+:xnack-` is not a GPU architecture",
        ("a feature is on or off, not both",),
    ),
    (
        TARGET + 'gpu = ["MI250X:xnack+"]',
        "tool.gpuenv.targets.mi300.gpu[0]: `MI250X:xnack+` is not a GPU architecture",
        ("did you mean `gfx90a:xnack+`?",),
    ),
    (
        TARGET + 'gpu = ["gfx1100:xnack+"]',
        "tool.gpuenv.targets.mi300.gpu[0]: gfx1100 has no feature `xnack`",
        ("write `gfx1100`",),
    ),
    (
        TARGET + 'gpu = ["gfx942:ecc+"]',
        "tool.gpuenv.targets.mi300.gpu[0]: gfx942 has no feature `ecc`",
        ("gfx942 has `xnack` and `sramecc`",),
    ),
    (
        TARGET + 'gpu = ["sm_90:xnack+"]',
        "tool.gpuenv.targets.mi300.gpu[0]: `sm_90:xnack+` is not a GPU architecture",
        ("did you mean `sm_90`?",),
    ),
    (
        TARGET + 'gpu = ["gfx9-generic"]',
        "tool.gpuenv.targets.mi300.gpu[0]: `gfx9-generic` is not a GPU architecture",
        ("like `sm_90` (NVIDIA) or `gfx942` (AMD); `gpuenv target detect` shows this machine's",),
    ),
]


@pytest.mark.parametrize(("text", "message", "hints"), NATIVE)
def test_refusal_of_what_is_said_of_native_code(text: str, message: str, hints: tuple[str, ...]) -> None:
    """What cannot be true of sonames, packages or a target is refused at its line, with the way out."""
    with pytest.raises(ManifestError) as failure:
        decode(text)
    lines = text.split("\n")
    error = failure.value
    assert (error.message, error.causes, error.hints) == (
        message,
        (f"pyproject.toml:{len(lines)}: {lines[-1]}",),
        hints,
    )


@pytest.mark.parametrize(("text", "message", "causes", "hints"), REFUSED)
def test_refusal_says_where_and_what_would_do(
    text: str, message: str, causes: tuple[str, ...], hints: tuple[str, ...]
) -> None:
    """Each mistake gets one message that names the key path, the line that says it, and the way out."""
    with pytest.raises(ManifestError) as failure:
        decode(text)
    shown = tuple(cause.removeprefix("pyproject.toml:") for cause in failure.value.causes)
    assert (failure.value.message, shown, failure.value.hints) == (message, causes, hints)


def test_label_names_the_file() -> None:
    """The place starts with what the caller calls the file."""
    with pytest.raises(ManifestError) as failure:
        decode(HEAD + "dependencies = 1", "sub/pyproject.toml")
    assert failure.value.causes == ("sub/pyproject.toml:3: dependencies = 1",)


@pytest.mark.parametrize(
    "text",
    [
        HEAD + 'dependencies = ["x @ https://user:hunter2@index.example/x?.tar"]\n[tool.gpuenv]\nindex = 3\n',
        HEAD + '[[tool.gpuenv.index]]\nname = "a"\nurl = "https://user:hunter2@index.example:port/"\n',
        HEAD + '[[tool.gpuenv.index]]\nname = "a"\nurl = "https://user:hunt@hunter2@index.example/"\npath = "b"\n',
        HEAD + '[tool.gpuenv.sources]\nx = { url = "https://user:hunter2@index.example/y-1-py3-none-any.whl" }\n',
        HEAD + 'index = "https://user:hunter2@index.example/\n',
    ],
)
def test_credentials_are_never_shown(text: str) -> None:
    """A password in a URL appears in no part of an error, not even in the line that it quotes."""
    with pytest.raises(ManifestError) as failure:
        decode(text)
    error = failure.value
    assert "hunter2" not in "\n".join([error.message, *error.causes, *error.hints])
