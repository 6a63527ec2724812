# SPDX-License-Identifier: Apache-2.0
# Shell functions shared by the scripts of this project: where it is, and how it is built.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$root/scripts/lib/packages.sh"

# build_preset NAME [TARGET...]: configures where needed, and builds. DROSTE_WERROR=ON makes warnings errors.
build_preset() {
    local preset=$1
    shift
    (cd "$root" && cmake --preset "$preset" -DDROSTE_WERROR="${DROSTE_WERROR:-OFF}" >"$(preset_log "$preset")" 2>&1) ||
        { cat "$(preset_log "$preset")" >&2; return 1; }
    (cd "$root" && cmake --build --preset "$preset" -j "$(nproc)" ${1:+--target "$@"})
}

preset_log() {
    mkdir -p "$root/build"
    echo "$root/build/configure-$1.log"
}

build_guest_images() {
    local recipe
    for recipe in exitbench test-kernels nanovisor kvm-stack linux-boot; do "$root/guest-images/$recipe/build"; done
}
