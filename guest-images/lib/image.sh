# SPDX-License-Identifier: Apache-2.0
# Shell functions shared by the guest image recipes: the cache key, Debian packages unpacked, a reproducible cpio.
# Sourced with `here` set to the recipe's folder.

images=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$images/../scripts/lib/packages.sh"

# open_output DIR: makes DIR and sets `out` to it. Two builds of the same image wait for each other.
open_output() {
    mkdir -p "$1"
    out=$(cd "$1" && pwd)
    exec {output_lock}> "$out/.lock"
    flock "$output_lock"
}

# image_key FILE...: one hash over the recipe's own files, this library, other inputs, and the versions that the
# last build recorded. Nothing is looked up on the network, so an image once built stays usable without one.
image_key() {
    { find "$here" "$images/lib" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
      sha256sum "$@" "$out/versions.txt"; } 2>/dev/null | sha256sum | cut -d' ' -f1
}

# image_is_current NAME... -- INPUT...: true when the named outputs exist and were built from these inputs.
image_is_current() {
    local name
    while [[ $1 != -- ]]; do
        name=$1; shift
        [[ -s $out/$name ]] || return 1
    done
    shift
    [[ -f $out/key && $(<"$out/key") == "$(image_key "$@")" ]]
}

# image_is_built INPUT...: records that the outputs in $out belong to these inputs.
image_is_built() { image_key "$@" > "$out/key"; }

# The package that linux-image-cloud-amd64 stands for today, e.g. linux-image-6.1.0-56-cloud-amd64.
kernel_package() {
    apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\)/\1/p' | head -1
}

# unpack_packages DIR PACKAGE...: fetches Debian packages as they are and unpacks them into DIR; their versions go
# to $out/versions.txt. Fetched files are kept in guest-images/out/packages.
unpack_packages() {
    local dir=$1 store=$images/out/packages file
    shift
    mkdir -p "$dir" "$store"
    # lists older than the archive name files that are gone
    fetch_packages "$@" || { as_root apt-get update -qq </dev/null && fetch_packages "$@"; } ||
        die "could not fetch the Debian packages $*: check the network and /etc/apt/sources.list"
    while read -r file; do
        dpkg-deb -x "$store/$file" "$dir"
        echo "${file%.deb}" >> "$out/versions.txt"
    done < <(package_files "$@")
}

fetch_packages() {
    local file
    while read -r file; do
        [[ -s $images/out/packages/$file ]] && continue
        (cd "$images/out/packages" && apt-get download -o APT::Sandbox::User=root "$@" >/dev/null)
        return
    done < <(package_files "$@")
}

# The file names that `apt-get download` gives to the candidate versions of these packages.
package_files() {
    local names
    names=$(apt-get download --print-uris "$@" 2>/dev/null | awk '{print $2}')
    [[ $(wc -l <<<"$names") == $# ]] || die "apt does not know all of: $* (run: apt-get update)"
    echo "$names"
}

# copy_libraries FROM TO BINARY...: copies into TO the shared libraries that the binaries need, found below FROM.
copy_libraries() {
    local from=$1 to=$2 name path
    shift 2
    local -A seen=()
    local todo=("$@")
    while ((${#todo[@]})); do
        local file=${todo[0]}
        todo=("${todo[@]:1}")
        while read -r name; do
            [[ -z ${seen[$name]:-} ]] || continue
            seen[$name]=1
            path=$(find "$from" -name "$name" -print -quit)
            [[ -n $path ]] || die "no package holds the library $name, which $(basename "$file") needs"
            cp -L "$path" "$to/"
            todo+=("$to/$name")
        done < <(objdump -p "$file" | awk '$1 == "NEEDED" {print $2}')
    done
}

# make_cpio DIR FILE: the tree DIR as an initramfs; the same tree gives the same bytes.
make_cpio() {
    find "$1" -exec touch -h -d @0 {} +
    (cd "$1" && find . | LC_ALL=C sort | cpio --quiet --reproducible -R 0:0 -o -H newc) > "$2"
}
