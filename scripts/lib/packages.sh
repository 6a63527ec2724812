# SPDX-License-Identifier: Apache-2.0
# Shell functions that see to it that the Debian packages a script needs are installed.

packages_list="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/packages.txt"

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

# as_root COMMAND...: runs it directly as root, else through sudo, which must not ask.
as_root() {
    if ((EUID == 0)); then "$@"
    elif command -v sudo >/dev/null; then sudo -n "$@"
    else die "needs root (or sudo without a password) for: $*"
    fi
}

# Names of one or more groups of packages.txt, one a line; without arguments all of them.
packages_of() {
    awk -v groups="$*" '
        BEGIN { n = split(groups, g); for (i = 1; i <= n; i++) want[g[i]] = 1 }
        { sub(/#.*/, "") }
        NF >= 2 && (n == 0 || $2 in want) { print $1 }' "$packages_list"
}

# update_apt_lists: fetches apt's lists where a machine has none (container images ship without).
update_apt_lists() {
    compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null || as_root apt-get update -qq </dev/null
}

# install_packages GROUP...: installs what is missing of the groups; does nothing when all is there.
install_packages() {
    local -a wanted missing=()
    local name
    mapfile -t wanted < <(packages_of "$@")
    local -A installed=()
    while read -r name; do installed[$name]=1; done < <(
        dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "${wanted[@]}" 2>/dev/null | sed -n 's/^ii *//p')
    for name in "${wanted[@]}"; do [[ -n ${installed[$name]:-} ]] || missing+=("$name"); done
    ((${#missing[@]})) || return 0
    echo "installing: ${missing[*]}" >&2
    update_apt_lists
    apt_install "${missing[@]}" || { as_root apt-get update -qq </dev/null && apt_install "${missing[@]}"; } ||
        die "apt could not install: ${missing[*]}"
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}
