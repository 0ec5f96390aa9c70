#!/usr/bin/env bash
# What `cmake --install` leaves: the program, scripts, pkg-config and module files, docs, a page a command and the completion; and that the
# last two say what --help says.
#
# usage: install.sh CMAKE BUILD
set -u
cmake=$1 build=$2 prefix=$(mktemp -d) || exit 2
trap 'rm -rf "$prefix"' EXIT
faults=0
fault() { echo "install: $*" >&2; faults=$((faults + 1)); }

"$cmake" --install "$build" --prefix "$prefix" >"$prefix/log" 2>&1 || { cat "$prefix/log"; exit 1; }
program=$prefix/bin/slipstream
[ "$("$program" --version)" = "$("$build/slipstream" --version)" ] || fault "the installed program is not the one that was built"
[ -s "$prefix/share/doc/slipstream/LICENSE" ] || fault "LICENSE is not installed"

# Links of pages lead somewhere.
while read -r page; do
    for link in $(grep -o ']([^)#]*' "$page" | cut -c 3- | grep -v '^https\?:' | sort -u); do
        [ -e "$(dirname "$page")/$link" ] || fault "${page#"$prefix/"}: there is no $link"
    done
done < <(find "$prefix/share/doc" -name '*.md')

# Scripts, pkg-config, module.
export PKG_CONFIG_PATH=$prefix/share/pkgconfig
[ "$("$program" --version | sed -n '1s/^slipstream \([0-9.]*\).*/\1/p')" = "$(pkg-config --modversion slipstream)" ] || fault "pkg-config's version"
jobs=$(pkg-config --variable=jobsdir slipstream)
for script in slurm/submit.sh slurm/array.sh mpirun/batch.sh; do
    # From their own installation they find the program, and say what else is missing.
    said=$(env -u SLIPSTREAM PATH=/usr/bin:/bin "$jobs/$script" 1 -- no-model no-requests no-results 2>&1)
    [ "$said" = "slipstream: no-model: MODEL: cannot be read" ] || fault "$script: $said"
done
if command -v modulecmd >/dev/null; then
    # shellcheck disable=SC2016 # of the shell that loads it
    found=$(MODULEPATH=$prefix/share/modulefiles bash -c 'eval "$(modulecmd bash load slipstream)"; command -v slipstream; echo "$SLIPSTREAM_SCRIPTS"')
    [ "$found" = "$program"$'\n'"$prefix/share/slipstream" ] || fault "the module sets $found"
fi

# The commands are those of --help; their pages hold every option of theirs.
commands=$("$program" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
[ -n "$commands" ] || fault "--help names no command"
for command in "" $commands; do
    page=$prefix/share/man/man1/slipstream${command:+-$command}.1
    [ -s "$page" ] || { fault "there is no $page"; continue; }
    for option in $("$program" $command --help | grep -o '^ *\(-[a-z], \)\?--[a-z-]*' | sed 's/.*--//'); do
        grep -q -F "\\-\\-${option//-/\\-}\\fR" "$page" || fault "slipstream $command: its page lacks --$option"
    done
    ! grep -q "build/\|jobs/" "$page" || fault "$page: examples of a checkout"
done
if command -v groff >/dev/null; then
    for page in "$prefix"/share/man/man1/*.1; do
        [ -z "$(groff -man -Tascii -ww "$page" 2>&1 >/dev/null)" ] || fault "$page: $(groff -man -Tascii -ww "$page" 2>&1 >/dev/null | head -n 1)"
    done
fi

# Completion: of a command, of its options, of the words of a choice.
completed() { # expected, word...
    local expected=$1
    shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _slipstream
    [ "${COMPREPLY[*]}" = "$expected" ] || fault "completion of \"$*\" gives \"${COMPREPLY[*]}\", not \"$expected\""
}
# shellcheck disable=SC1090
. "$prefix/share/bash-completion/completions/slipstream"
completed generate slipstream gener
completed --no-draft slipstream generate --no
completed "cpu cuda" slipstream generate --device ""
completed "auto" slipstream batch --sequences ""
completed "flash pro" slipstream plan --shape ""
[ "$(_slipstream_words() { COMP_WORDS=(slipstream batch --chat-template "") COMP_CWORD=3 COMPREPLY=(); _slipstream; echo ${#COMPREPLY[@]}; }; _slipstream_words)" -gt 1 ] ||
    fault "completion knows no chat template"
completed "" slipstream inspect --no-draft
for command in $commands; do
    usage=$("$program" "$command" --help | sed -n '/^Usage: /p')
    synopsis=$(grep -A 1 '^.SH SYNOPSIS' "$prefix/share/man/man1/slipstream-$command.1" | tail -n 1)
    [ "$(grep -c mpirun <<<"$usage")" = "$(grep -c mpirun <<<"$synopsis")" ] || fault "$command: its page and --help differ about mpirun"
done

[ "$faults" -eq 0 ] && echo "install: $(find "$prefix" -type f | wc -l) files"
exit $((faults > 0))
