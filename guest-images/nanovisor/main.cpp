// SPDX-License-Identifier: Apache-2.0
// An instance starts: as a hypervisor with a guest, or, at the deepest level, as the workload.
#include "console.h"
#include "guest.h"
#include "ras.h"
#include "workload.h"

namespace nano {

Monitor monitor;

} // namespace nano

extern "C" [[noreturn]] void boot_main(nano::u32 magic, nano::u64 information)
{
    using namespace nano;
    load_idt();
    const BootInformation boot = read_boot_information(magic, information);
    Monitor& m = monitor;
    m.options = parse_options(boot.command_line);
    set_panic_level(m.options.level);
    m.memory_size = boot.memory_size;
    const u64 fresh = (m.memory_size & ~(large_page - 1)) - large_page;
    const bool linux_guest = m.options.linux_guest;
    if (m.options.ras && m.options.level == m.options.depth) {
        check_memory(fresh, m.options.level, m.options.iterations);
        finish(0);
    }
    if ((!linux_guest && m.options.level == m.options.depth) || m.options.every_level) run_workload(m.options, fresh);
    if (!linux_guest && m.options.level == m.options.depth) finish(0);
    m.serves = served_levels(m);
    turn_vmx_on(m);
    const bool first_of_ras = m.options.ras && m.options.level == 0;
    if (first_of_ras) start_ras(m);
    if (m.options.routing != Routing::sdm) start_routing(m);
    if (m.options.linux_guest) make_linux_guest(m, boot);
    else make_nested_instance(m);
    run(m);
}

// GCC's own calls.
extern "C" void* memcpy(void* to, const void* from, nano::u64 n)
{
    nano::copy(reinterpret_cast<nano::u64>(to), reinterpret_cast<nano::u64>(from), n);
    return to;
}

extern "C" void* memset(void* to, int value, nano::u64 n)
{
    nano::u8* p = static_cast<nano::u8*>(to);
    for (nano::u64 i = 0; i < n; ++i) p[i] = nano::u8(value);
    return to;
}
