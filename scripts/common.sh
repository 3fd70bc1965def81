# Sourced by the scripts beside it: installing Debian packages, finding Rust. The caller sets `needed`.

started=$SECONDS
step() { printf '\n== [%4ds] %s\n' "$((SECONDS - started))" "$*" >&2; }
fail() { printf 'scripts/%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Installs what is missing of `needed`, a list of command:package. A command is looked for as a file in PATH (kill is a
# builtin of the shell, but not for other programs); one that begins with / is the file itself.
install_missing() {
    local missing=() pair
    for pair in "${needed[@]}"; do
        case "$pair" in
            /*) [ -e "${pair%%:*}" ] ;;
            *) type -P "${pair%%:*}" >/dev/null ;;
        esac || missing+=("${pair#*:}")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    step "install from Debian packages: ${missing[*]}"
    command -v apt-get >/dev/null 2>&1 ||
        fail "missing: ${missing[*]}; this machine has no apt-get: install them by hand and start again"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 ||
            fail "missing: ${missing[*]}; run as root or install them: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    {
        "${as_root[@]}" apt-get update -q || printf 'apt-get update failed, the lists at hand are tried\n'
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" ||
            fail "apt-get could not install ${missing[*]}: see its message above"
    } >&2
}

# Puts cargo into PATH.
find_rust() {
    command -v cargo >/dev/null 2>&1 || PATH="${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$PATH"
    export PATH
    command -v cargo >/dev/null 2>&1 || fail "cargo is missing: install Rust 1.94 or later from https://rustup.rs"
}
