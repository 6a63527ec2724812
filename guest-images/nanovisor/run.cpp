// SPDX-License-Identifier: Apache-2.0
// Entry, exit, and who gets it.
#include "console.h"
#include "monitor.h"
#include "ras.h"

extern "C" int vm_enter(int launch);

namespace nano {

namespace {

// The guest hypervisor's entry that this one made for it did not happen.
void entry_failed(Monitor& m, Outcome outcome)
{
    const unsigned level = m.running;
    const u64 number = outcome == Outcome::fail_valid ? vmread(field::instruction_error) : 0;
    if (m.entering == Entering::no || level == 1) panic("an entry of its own fails with VM-instruction error", number);
    Level& below = m.level[level - 1];
    m.running = level - 1;
    if (m.entering == Entering::by_launch) find_tracked(m, level - 1, below.current)->launched = false;
    m.entering = Entering::no;
    load(m, address_of(*below.context->region));
    fail_instruction(m, number == error::entry_host_state ? error::entry_controls : u32(number));
}

// An event whose delivery this exit broke off comes again with the next entry. SDM "Information for VM Exits During Event Delivery".
void deliver_again(Context& c)
{
    const u64 vectoring = vmread(field::vectoring);
    if (!(vectoring & bit(31))) return;
    set(c, slot(field::entry_event), vectoring & ~bit(12));
    if (vectoring & bit(11)) set(c, slot(field::entry_error_code), vmread(field::vectoring_error));
    set(c, slot(field::entry_length), vmread(field::instruction_length));
}

// Guest memory that is mapped when it is used first.
void map_own(Monitor& m, u64 address)
{
    const u64 page = address & ~(page_size - 1);
    if (address >= m.lazy_first && address < m.lazy_end) map(m.own_ept, page, page + m.guest_offset, page_size, 7 | 6u << 3, true);
    else panic("its guest uses memory that is not there", address);
}

void ept_exit(Monitor& m, u32 exit_reason)
{
    const unsigned level = m.running;
    const u64 address = vmread(field::guest_physical_address), access = vmread(field::qualification) & 7;
    if (level == 1) {
        if (exit_reason == reason::ept_misconfiguration) panic("its own EPT is misconfigured", address);
        deliver_again(*m.level[1].context);
        return map_own(m, address);
    }
    u64 below = 0;
    switch (compose(m, level, address, access ? access : 1, below)) {
    case Compose::done: return deliver_again(*m.level[level].context);
    case Compose::missing_here:
        deliver_again(*m.level[level].context);
        return map_own(m, below);
    case Compose::missing_in_guest: return reflect_ept(m, level, false);
    case Compose::misconfigured: return reflect_ept(m, level, true);
    case Compose::missing_below: panic("memory that a hypervisor in between does not map", address);
    }
}

void exited(Monitor& m)
{
    const unsigned level = m.running;
    Context& c = *m.level[level].context;
    c.guest_known = false;
    const u64 full = vmread(field::exit_reason);
    const u32 basic = u32(full & 0xffff);
    if (full & entry_failure) {
        if (level == 1) panic("its guest's state is not one that the processor takes", full);
        if (m.entering == Entering::by_launch) find_tracked(m, level - 1, m.level[level - 1].current)->launched = false;
        m.entering = Entering::no;
        return fail_entry(m, level, full);
    }
    m.entering = Entering::no;
    if (c.in_region[slot(field::entry_msr_load_count)]) set(c, slot(field::entry_msr_load_count), 0);
    if (basic == reason::ept_violation || basic == reason::ept_misconfiguration) return ept_exit(m, basic);
    if (m.options.ras && m.options.level == 0 && basic == reason::exception && (vmread(field::exit_event) >> 8 & 7) == 2) {
        deliver_again(c);
        return handle_memory_error(m);
    }
    // The innermost hypervisor that wants an exit gets it, but for what this one claims for itself.
    if (level > 1 && !claims(m, level, basic) && wants(m, level, basic)) return reflect(m, level, full);
    handle(m, basic);
}

} // namespace

void run(Monitor& m)
{
    for (;;) {
        Context& c = *m.level[m.running].context;
        load(m, address_of(*c.region));
        const Outcome outcome = static_cast<Outcome>(vm_enter(!c.launched));
        ++m.exits;
        if (outcome != Outcome::succeeded) {
            entry_failed(m, outcome);
            continue;
        }
        c.launched = true;
        if (m.options.routing != Routing::sdm) find_running(m);
        exited(m);
        if (m.options.ras && m.watching) handle_nmis(m);
    }
}

} // namespace nano
