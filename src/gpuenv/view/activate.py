"""The files that make a directory a virtual environment (PEP 405) and that shells read to enter it."""

import shlex

from gpuenv.model.interpreter import Interpreter

__all__ = ["activation_scripts", "pyvenv_cfg"]

_SH = """\
# Use with `. bin/activate` from sh, bash, zsh and other POSIX shells.
deactivate () {
    if [ -n "${_OLD_VIRTUAL_PATH+x}" ]; then
        PATH="$_OLD_VIRTUAL_PATH"
        export PATH
        unset _OLD_VIRTUAL_PATH
    fi
    if [ -n "${_OLD_VIRTUAL_PYTHONHOME+x}" ]; then
        PYTHONHOME="$_OLD_VIRTUAL_PYTHONHOME"
        export PYTHONHOME
        unset _OLD_VIRTUAL_PYTHONHOME
    fi
    if [ -n "${_OLD_VIRTUAL_PS1+x}" ]; then
        PS1="$_OLD_VIRTUAL_PS1"
        unset _OLD_VIRTUAL_PS1
    fi
    unset VIRTUAL_ENV VIRTUAL_ENV_PROMPT
    hash -r 2> /dev/null || :
    if [ "${1-}" != nondestructive ]; then
        unset -f deactivate
    fi
}
deactivate nondestructive

VIRTUAL_ENV=@VENV@
VIRTUAL_ENV_PROMPT=@PROMPT@
export VIRTUAL_ENV VIRTUAL_ENV_PROMPT
_OLD_VIRTUAL_PATH="$PATH"
PATH="$VIRTUAL_ENV/bin:$PATH"
export PATH
if [ -n "${PYTHONHOME+x}" ]; then
    _OLD_VIRTUAL_PYTHONHOME="$PYTHONHOME"
    unset PYTHONHOME
fi
if [ -z "${VIRTUAL_ENV_DISABLE_PROMPT-}" ]; then
    _OLD_VIRTUAL_PS1="${PS1-}"
    PS1="($VIRTUAL_ENV_PROMPT) ${PS1-}"
fi
hash -r 2> /dev/null || :
"""

_FISH = """\
# Use with `source bin/activate.fish` from fish.
function deactivate
    if set -q _OLD_VIRTUAL_PATH
        set -gx PATH $_OLD_VIRTUAL_PATH
        set -e _OLD_VIRTUAL_PATH
    end
    if set -q _OLD_VIRTUAL_PYTHONHOME
        set -gx PYTHONHOME $_OLD_VIRTUAL_PYTHONHOME
        set -e _OLD_VIRTUAL_PYTHONHOME
    end
    if functions -q _old_fish_prompt
        functions -e fish_prompt
        functions -c _old_fish_prompt fish_prompt
        functions -e _old_fish_prompt
    end
    set -e VIRTUAL_ENV
    set -e VIRTUAL_ENV_PROMPT
    if test "$argv[1]" != nondestructive
        functions -e deactivate
    end
end
deactivate nondestructive

set -gx VIRTUAL_ENV @VENV@
set -gx VIRTUAL_ENV_PROMPT @PROMPT@
set -gx _OLD_VIRTUAL_PATH $PATH
set -gx PATH "$VIRTUAL_ENV/bin" $PATH
if set -q PYTHONHOME
    set -gx _OLD_VIRTUAL_PYTHONHOME $PYTHONHOME
    set -e PYTHONHOME
end
if test -z "$VIRTUAL_ENV_DISABLE_PROMPT"; and functions -q fish_prompt
    functions -c fish_prompt _old_fish_prompt
    function fish_prompt
        printf '(%s) ' $VIRTUAL_ENV_PROMPT
        _old_fish_prompt
    end
end
"""

_CSH = """\
# Use with `source bin/activate.csh` from csh or tcsh.
alias deactivate 'test $?_OLD_VIRTUAL_PATH != 0 && setenv PATH "$_OLD_VIRTUAL_PATH" && unset _OLD_VIRTUAL_PATH; \
test $?_OLD_VIRTUAL_PROMPT != 0 && set prompt="$_OLD_VIRTUAL_PROMPT" && unset _OLD_VIRTUAL_PROMPT; \
unsetenv VIRTUAL_ENV; unsetenv VIRTUAL_ENV_PROMPT; rehash; test "\\!:*" != nondestructive && unalias deactivate'
deactivate nondestructive

setenv VIRTUAL_ENV @VENV@
setenv VIRTUAL_ENV_PROMPT @PROMPT@
set _OLD_VIRTUAL_PATH="$PATH"
setenv PATH "${VIRTUAL_ENV}/bin:$PATH"
if (! $?VIRTUAL_ENV_DISABLE_PROMPT && $?prompt) then
    set _OLD_VIRTUAL_PROMPT="$prompt"
    set prompt="($VIRTUAL_ENV_PROMPT) $prompt"
endif
rehash
"""


def activation_scripts(venv: str, prompt: str) -> dict[str, str]:
    """The content of `bin/activate` and its relatives, by name, for an environment that users meet at `venv`."""
    quoting = {"activate": (_SH, shlex.quote), "activate.fish": (_FISH, _fish), "activate.csh": (_CSH, _csh)}
    return {
        name: text.replace("@PROMPT@", quote(prompt)).replace("@VENV@", quote(venv))
        for name, (text, quote) in quoting.items()
    }


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _csh(text: str) -> str:
    return "'" + text.replace("'", "'\\''").replace("!", "\\!") + "'"


def pyvenv_cfg(interpreter: Interpreter, prompt: str) -> str:
    """`pyvenv.cfg` (PEP 405) for a base interpreter."""
    home = interpreter.path.rpartition("/")[0]
    return (
        f"home = {home}\n"
        f"implementation = {interpreter.implementation}\n"
        f"version = {interpreter.version}\n"
        "include-system-site-packages = false\n"
        f"prompt = {prompt}\n"
    )
