#!/usr/bin/env bash
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Runs the project's checks, all of them even when one fails, and ends with the line "N passed, N failed".
#
#   scripts/test.sh                       every step: unit lint lock cores sanity integration docs package molecule
#   scripts/test.sh unit lint             only these (or: ONLY="unit lint" scripts/test.sh)
#   scripts/test.sh --all                 also what takes hours: every fault, the scenarios with a file "nightly", chaos
#   SCENARIOS="site bad" scripts/test.sh molecule    only these scenarios
#   KEEP_NODES=1 scripts/test.sh molecule            leave the scenarios' nodes running
#
# The tools come from the environment that scripts/bootstrap.sh makes (.venv, or the one named by TRAINMESH_VENV).

set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

STEPS="unit lint lock cores sanity integration docs package molecule"
declare -A LIMIT=([unit]=900 [lint]=600 [lock]=180 [cores]=1500 [sanity]=1200 [integration]=480 [docs]=300 [package]=600 [molecule]=3900) # seconds
SCENARIO_LIMIT=${SCENARIO_LIMIT:-1200}                                            # seconds for one scenario
SANITY_DIR=${SANITY_DIR:-.cache/sanity}

VENV=${TRAINMESH_VENV:-$PWD/.venv}
export PATH="$VENV/bin:$PATH"
export ANSIBLE_COLLECTIONS_PATH="$PWD/collections${ANSIBLE_COLLECTIONS_PATH:+:$ANSIBLE_COLLECTIONS_PATH}"
# Unbuffered: what a step prints goes through a pipe, and progress is to be seen when it is made.
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 ANSIBLE_INJECT_FACT_VARS=false
[ -t 1 ] || export NO_COLOR=1

child=
trap 'stop_child; exit 130' INT TERM

stop_child() {
    [ -z "$child" ] || { kill -TERM "$child" && wait "$child"; } 2>/dev/null
}

# limited SECONDS COMMAND...: the command in its own process group, ended when the time is up or when we are.
limited() {
    timeout --kill-after=30 "$@" </dev/null &
    child=$!
    wait "$child"
    local rc=$?
    child=
    [ "$rc" -ne 124 ] || echo "Not finished after $1 s: stopped." >&2
    return "$rc"
}

# part NAME COMMAND...: one tool of a step; a failure is noted and the next tool still runs.
part() {
    local name=$1 started=$SECONDS rc=0
    shift
    "$@" || rc=$?
    printf -- '-- %s: %s (%s s)\n' "$name" "$([ "$rc" -eq 0 ] && echo ok || echo "FAILED, status $rc")" "$((SECONDS - started))"
    [ "$rc" -eq 0 ] || failed_parts+=("$name")
}

end_of_parts() {
    [ "${#failed_parts[@]}" -eq 0 ] && return 0
    echo "Failed: ${failed_parts[*]}" >&2
    return 1
}

# Files of this checkout: what git tracks, and what is new and not ignored (also when another user owns the clone).
# Leaves out what is deleted but not yet committed.
our_files() {
    local name
    git -c safe.directory='*' ls-files -z --cached --others --exclude-standard --deduplicate |
        while IFS= read -r -d '' name; do
            if [ -e "$name" ] || [ -L "$name" ]; then printf '%s\0' "$name"; fi
        done
}

step_unit() {
    python -m pytest -n 2 tests/unit
}

# Every file that a shell reads, by its name or its first line.
lint_shell() {
    our_files | xargs -0 grep -d skip -lIZE -m1 '^#!.*\b(ba)?sh\b' | xargs -0 --no-run-if-empty shellcheck --external-sources --source-path=SCRIPTDIR
}

lint_spelling() {
    our_files | xargs -0 codespell
}

step_lint() {
    failed_parts=()
    part "ruff check" ruff check --output-format concise .
    part "ruff format" ruff format --check --output-format concise .
    part "shellcheck" lint_shell
    part "layout" python scripts/check_layout.py
    part "mypy" mypy
    part "yamllint" yamllint --strict .
    part "codespell" lint_spelling
    part "licences" reuse lint --quiet
    part "ansible-lint" ansible-lint --offline --strict
    end_of_parts
}

# A lock from nothing with the Python of this environment, one package of it from source as DeepSpeed is: an old pip
# without the package wheel can't build that the old way.
step_lock() {
    local place=.cache/lock source_only=docopt
    if ! python -m pip index versions "$source_only" >/dev/null 2>&1; then
        echo "Skipped: the package index that pip is configured with does not answer."
        return 0
    fi
    rm -rf "$place" && mkdir -p "$place" || return 1
    ansible localhost -m trainmesh.cluster.wheel_lock -a "{\"state_dir\": \"$PWD/$place\", \"requirements\": [\"$source_only\"],
        \"python_version\": \"3.11\", \"platform\": \"x86_64-manylinux_2_28\"}" || return 1
    grep -q -- --hash "$place/lock/requirements.txt" && ls "$place"/lock/wheels/"$source_only"-*.whl
}

# The other supported cores for which this machine has a Python: the unit and sanity tests that depend on the core; with
# --all every test, and every core instead of the newest.
step_cores() {
    local core python venv own found='' tests=(tests/unit)
    [ -n "${TEST_ALL:-}" ] || tests=(tests/unit/plugins/{action,modules,inventory} tests/unit/{playbooks,callback_plugins})
    failed_parts=()
    own=$(python -c 'import ansible.release as r; print(".".join(r.__version__.split(".")[:2]))') || return 1
    for core in 2.21 2.20 2.19; do
        [ "$core" != "$own" ] || continue
        python=$(python_for "$core") || continue
        [ -z "$found" ] || [ -n "${TEST_ALL:-}" ] || continue
        found=1 venv=$PWD/.cache/cores/$core
        part "ansible-core $core: environment with $python" core_environment "$core" "$python" "$venv" || continue
        part "ansible-core $core: unit tests" env PATH="$venv/bin:$PATH" python -m pytest -q -n 2 "${tests[@]}"
        part "ansible-core $core: sanity" core_sanity "$core" "$venv"
    done
    [ -n "$found" ] || echo "Skipped: no Python for another core than $own is on the path or in ~/.pyenv/versions."
    end_of_parts
}

# python_for CORE: the first Python that this core runs on.
python_for() {
    local name lowest=12 highest=14
    [ "$1" != 2.19 ] || lowest=11 highest=13
    for name in python3.13 python3.12 python3.11 ~/.pyenv/versions/3.1[1-4]*/bin/python3; do
        if "$name" -c "import sys; sys.exit(not (3, $lowest) <= sys.version_info[:2] <= (3, $highest))" 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

# core_environment CORE PYTHON DIRECTORY: an environment with this core, kept for the next run.
core_environment() {
    local wanted
    wanted=$(cat requirements/controller.in requirements/dev.in && "$2" -VV && echo "$1")
    [ "$(cat "$3/.wanted" 2>/dev/null)" != "$wanted" ] || return 0
    "$2" -m venv --clear "$3" &&
        "$3/bin/python" -m pip install --quiet --disable-pip-version-check "ansible-core~=$1.0" jmespath paramiko pyyaml uv \
            hypothesis jsonschema pytest pytest-xdist || return 1
    printf '%s\n' "$wanted" >"$3/.wanted"
}

core_sanity() {
    local tests=(--test validate-modules --test ansible-doc --test import)
    [ -z "${TEST_ALL:-}" ] || tests=()
    PATH="$2/bin:$PATH" SANITY_DIR=.cache/sanity-$1 ansible_test sanity "${tests[@]}"
}

# ansible_test COMMAND [ARGUMENTS]: it only works in a directory called ansible_collections/NAMESPACE/NAME, so it gets a
# copy of the checkout there; the copy's tests/output and the home beside it hold its virtual environments, which are
# kept for the next run.
ansible_test() {
    local copy=$SANITY_DIR/ansible_collections/trainmesh/cluster command=$1
    local python
    python=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])') || return 1
    mkdir -p "$copy/tests"
    find "$copy" -mindepth 1 -maxdepth 1 ! -name tests ! -name .git -exec rm -rf {} +
    find "$copy/tests" -mindepth 1 -maxdepth 1 ! -name output -exec rm -rf {} +
    our_files | tar --create --null --files-from=- | tar --extract --directory "$copy" || return 1
    [ ! -e "$SANITY_DIR/integration_config.yml" ] || cp "$SANITY_DIR/integration_config.yml" "$copy/tests/integration/"
    [ -d "$copy/.git" ] || git init --quiet "$copy" || return 1 # ansible-test lists the files through git
    python scripts/sanity_home.py "$SANITY_DIR/home" || return 1
    (cd "$copy" && HOME=$OLDPWD/$SANITY_DIR/home ansible-test "$command" --venv --python "$python" "${@:2}")
}

step_sanity() {
    ansible_test sanity
}

# What needs a machine and no cluster, in a directory of its own on this one. Only root may: others leave it out.
# conda is made once, in .cache/conda: remove that for a new one.
step_integration() {
    local place=$PWD/.cache/conda config=$SANITY_DIR/integration_config.yml
    mkdir -p "$SANITY_DIR" && rm -f "$config"
    if [ -e "$place/installer.sh" ] || python scripts/real_conda.py "$place"; then
        echo "role_python_env_conda: $place" >"$config"
    else
        echo "No conda to test with: its role is left out."
    fi
    ansible_test integration
}

step_docs() {
    failed_parts=()
    part "plugin and role documentation" antsibull-docs lint-collection-docs --plugin-docs \
        --validate-collection-refs all --disallow-unknown-collection-refs .
    part "changelog fragments" antsibull-changelog lint
    part "commands in the README" python scripts/check_readme.py
    end_of_parts
}

# The artifact as Galaxy gets it: what is in it, whether it can be installed, and what Galaxy's own import says of it.
step_package() {
    local place=$PWD/.cache/package artifact
    failed_parts=()
    rm -rf "$place" && mkdir -p "$place" || return 1
    ansible-galaxy collection build --output-path "$place" || return 1
    artifact=$(echo "$place"/*.tar.gz)
    part "contents" python scripts/check_artifact.py "$artifact"
    export ANSIBLE_COLLECTIONS_PATH=$place/collections # and not the checkout
    part "installation" ansible-galaxy collection install --offline "$artifact"
    part "galaxy-importer" import_artifact "$place" "$artifact"
    end_of_parts
}

# import_artifact DIRECTORY FILE: warnings are failures, as Galaxy shows them beside the collection. But not this one:
# the importer gives ansible-lint the path of ansible_collections itself, where it finds no playbook of a collection.
import_artifact() {
    (cd "$1" && python -m galaxy_importer.main "$2") | tee "$1/import.log" || return 1
    ! grep -E '^(WARNING|ERROR)' "$1/import.log" | grep -vE 'Failed to find trainmesh\.cluster\.[a-z_]+ playbook\.$' |
        sed 's/^/ERROR: /'
}

# The nodes are made once (scenario "default") and shared by all the other scenarios, one after the other.
# A first run killed at many moments must end where an undisturbed one does.
step_chaos() {
    python tests/bench/chaos.py
}

step_molecule() {
    local name names=${SCENARIOS:-}
    failed_parts=()
    export MOLECULE_GLOB='molecule/*/molecule.yml'
    if [ -z "$names" ]; then
        names=$(find molecule -mindepth 2 -maxdepth 2 -name molecule.yml -printf '%h\n' | sed 's|.*/||' | grep -vx default | sort |
            while read -r name; do if [ -n "${TEST_ALL:-}" ] || [ ! -e "molecule/$name/nightly" ]; then echo "$name"; fi; done)
    fi
    if [ -z "$names" ]; then
        echo "There is no scenario in molecule/." >&2
        return 1
    fi
    molecule reset --scenario-name default # what molecule remembers of nodes that may be gone; "create" finds those that are there
    part "nodes up" limited "$SCENARIO_LIMIT" molecule create --scenario-name default
    if [ "${#failed_parts[@]}" -eq 0 ]; then
        for name in $names; do
            printf '\n-- scenario %s\n' "$name"
            part "scenario $name" limited "$SCENARIO_LIMIT" molecule test --destroy=never --scenario-name "$name"
        done
    fi
    if [ -z "${KEEP_NODES:-}" ]; then
        part "nodes down" limited 300 molecule destroy --scenario-name default
    fi
    end_of_parts
}

# why LOG: what a step printed of its failures, shortened, so that it stands at the end of thousands of lines: of a
# failed playbook the errors, also those of a playbook that it ran, and its last words; of other tools each error.
why() {
    cut -c1-180 "$1" | awk '
        function close_record(i) {
            for (i = 1; i <= words && i <= 8; i++) kept = kept last[(seen - words + i) % 8] "\n"
            inside = 0
        }
        /^-- .*: ok / { kept = "" }
        /^(\[ERROR\]: |(fatal|failed): \[)/ && !inside { inside = 1; words = seen = 0 }
        inside && /^(PLAY RECAP|CRITICAL|TASK )/ { words = seen < 8 ? seen : 8; close_record() }
        /\[ERROR\]: |(fatal|failed): \[/ && inside { left = 5 }
        /^(FAILED |ERROR: |E  |Not finished |-- .*: FAILED)/ { left = 1 }
        !NF { next }
        left > 0 { left--; kept = kept $0 "\n"; next }
        inside { seen++; last[seen % 8] = $0 }
        END { printf "%s", kept }' | tail -n 30
}

main() {
    local step rc out log started all_started=$SECONDS passed=() failed=() summary=() chosen="${*:-${ONLY:-$STEPS}}"
    for step in $chosen; do
        [[ " $STEPS " == *" $step "* ]] || { echo "There is no step '$step'; the steps are: $STEPS." >&2; exit 2; }
    done
    if ! command -v ansible-test >/dev/null || ! command -v pytest >/dev/null; then
        echo "The test tools are missing in $VENV: run 'make test', which installs them." >&2
        exit 2
    fi
    for step in $chosen; do
        started=$SECONDS
        printf '\n== %s (at most %s s)\n' "$step" "${LIMIT[$step]}"
        log=.cache/test/$step.log
        mkdir -p .cache/test
        exec {out}> >(exec tee "$log")
        limited "${LIMIT[$step]}" "$BASH" "$PWD/scripts/test.sh" --step "$step" >&"$out" 2>&1
        rc=$?
        exec {out}>&-
        sleep 0.5 # for tee; not waited for, as a service that the step started may hold the other end
        if [ "$rc" -eq 0 ]; then passed+=("$step"); else failed+=("$step"); fi
        summary+=("$(printf '%-11s %-7s %5s s' "$step" "$([ "$rc" -eq 0 ] && echo passed || echo FAILED)" "$((SECONDS - started))")")
    done
    printf '\n== summary\n'
    printf '%s\n' "${summary[@]}"
    printf '%-19s %5s s\n' total "$((SECONDS - all_started))"
    for step in "${failed[@]}"; do
        printf '\n-- why %s failed (all of it: .cache/test/%s.log)\n' "$step" "$step"
        why ".cache/test/$step.log"
    done
    [ "${#failed[@]}" -eq 0 ] || echo "Failed: ${failed[*]}"
    echo "${#passed[@]} passed, ${#failed[@]} failed"
    [ "${#failed[@]}" -eq 0 ]
}

[ "${BASH_SOURCE[0]}" = "$0" ] || return 0 # a test wants the functions alone

if [ "${1:-}" = --all ]; then
    shift
    export TEST_ALL=1 FAULTS_EVERY=1
    STEPS="$STEPS chaos"
    LIMIT[molecule]=14400 LIMIT[chaos]=7200 # seconds
    export SCENARIO_LIMIT=7200 TWELVE_ROUNDS=10
fi
if [ "${1:-}" = --step ]; then
    "step_$2"
else
    main "$@"
fi
