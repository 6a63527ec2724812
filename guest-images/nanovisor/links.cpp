// SPDX-License-Identifier: Apache-2.0
// Level 0 on a processor with exit routing: links from each VMCS to the hypervisor that gets the exits, and where the processor
// is after exits that this hypervisor did not see. docs/routing.md has the fields.
#include <initializer_list>

#include "console.h"
#include "monitor.h"
#include "own_controls.h"

namespace nano {

namespace {

// Fields of exit routing; they exist on such a processor alone.
constexpr u32 state_link = 0x23c0, control_link = 0x23c2, parent_link = 0x23c4, reason_bitmap_0 = 0x23c6,
              reason_bitmap_1 = 0x23c8, policy_table_pointer = 0x23ca, exception_bitmap = 0x43c0, routing_controls = 0x43c2;
constexpr u64 exit_routing = bit(32); // tertiary control
constexpr u64 use_policy_table = 1, direct_entry = 2;

// Exits that the hypervisor of the exiting guest never gets by the processor: signals to the machine, what this hypervisor
// emulates for all levels, failed entries, and EPT faults, of which only a walk tells whose they are.
constexpr u8 at_level_0[] = {reason::init, reason::sipi, reason::vmclear, reason::vmlaunch, reason::vmptrld, reason::vmptrst,
                             reason::vmread, reason::vmresume, reason::vmwrite, reason::vmxoff, reason::vmxon,
                             reason::invalid_guest_state, reason::msr_loading, reason::ept_violation,
                             reason::ept_misconfiguration, reason::invept, reason::invvpid};

constexpr u64 all_reasons = [] {
    u64 set = ~0ull;
    for (const u8 r : at_level_0) set &= ~bit(r);
    return set;
}();

constexpr u64 vmx_instructions = [] {
    u64 set = bit(reason::invept) | bit(reason::invvpid);
    for (u8 r = reason::vmclear; r <= reason::vmxon; ++r) set |= bit(r);
    return set;
}();

struct alignas(64) PolicyTable {
    u8 pair[64]; // 4 bits a reason; 0: as the design has it, 1: level 0
};
PolicyTable policies, answering_policies;

void set_root(PolicyTable& t, u32 exit_reason) { t.pair[exit_reason / 2] |= u8(1u << exit_reason % 2 * 4); }

void write(u32 encoding, u64 value)
{
    if (vmwrite(encoding, value) != Outcome::succeeded) panic("the processor lacks a field of exit routing", encoding);
}

} // namespace

void start_routing(Monitor& m)
{
    const bool tertiary = m.real.has(control::tertiary_controls) && (rdmsr(msr::vmx_tertiary) & exit_routing);
    if (!tertiary) panic("this machine has no exit routing; give it routing.design");
    constexpr u8 number_of[] = {0, 2, 3, 5};
    const u64 capability = rdmsr(msr::routing_capability);
    if ((capability & 0xff) != number_of[unsigned(m.options.routing)]) panic("this machine's routing.design is another", capability & 0xff);
    m.direct_entries = capability & bit(16);
    // A Linux at level 1 has the machine's interrupts: it must know which of the levels above it runs, and so serves them itself.
    m.serves = m.options.linux_guest ? 1 : max_levels - 1;
    for (const u8 r : at_level_0) {
        const bool ept = r == reason::ept_violation || r == reason::ept_misconfiguration;
        if (!ept) set_root(policies, r);
    }
    answering_policies = policies;
    for (const u8 r : {reason::cpuid, reason::rdmsr}) set_root(answering_policies, r);
}

void program_routing(Monitor& m, unsigned level, bool own_bitmaps_matter)
{
    Context& c = *m.level[level].context;
    const Context& below = *m.level[level - 1].context;
    set(c, slot(field::primary_controls), c.in_region[slot(field::primary_controls)] | bit(control::tertiary_controls.number));
    const bool serves_vmx = level <= m.serves;
    u64 reasons = all_reasons | (serves_vmx ? 0 : vmx_instructions);
    // A bit cannot tell whose bitmap asked for an exit.
    const bool answers = does_not_nest(m, level - 1); // for a hypervisor that says there is no VMX
    if (answers) reasons &= ~bit(reason::cpuid);
    if (own_bitmaps_matter || answers) reasons &= ~(bit(reason::rdmsr) | bit(reason::wrmsr) | bit(reason::io));
    const u64 exceptions = c.vmcs12[slot(field::exception_bitmap)], link = address_of(*below.region);
    if (c.routing_link == link && c.routing_reasons == reasons && c.routing_exceptions == exceptions) return;
    c.routing_link = link;
    c.routing_reasons = reasons;
    c.routing_exceptions = exceptions;
    const bool by_control_link = m.options.routing == Routing::links;
    write(field::tertiary_controls, exit_routing);
    write(state_link, c.source_region);
    write(control_link, by_control_link ? link : no_address);
    write(parent_link, by_control_link ? no_address : link);
    write(reason_bitmap_0, reasons);
    write(reason_bitmap_1, ~0ull);
    write(exception_bitmap, exceptions);
    // The design `layered` asks the guests' own controls; VMX instructions are level 0's all the same.
    write(policy_table_pointer, address_of(answers ? answering_policies : policies));
    write(routing_controls, (m.options.routing == Routing::layered && serves_vmx ? use_policy_table : 0) |
                                (m.direct_entries ? direct_entry : 0));
}

void find_running(Monitor& m)
{
    const u64 now = vmptrst();
    if (now == m.loaded && !m.direct_entries) return; // with them it may have been elsewhere meanwhile
    // The processor went from guests to their hypervisors, and perhaps back.
    unsigned level = 1;
    while (level <= max_levels && (!m.level[level].context || address_of(*m.level[level].context->region) != now)) ++level;
    if (level > max_levels) panic("the processor's current VMCS is none of this hypervisor's", now);
    for (unsigned k = 2; k <= (level > m.running ? level : m.running); ++k) {
        Context& c = *m.level[k].context;
        c.vmcs12_known = c.information_known = false;
        if (m.direct_entries) c.guest_known = false;
        // Live while the guest ran, and not saved here: written again whatever they are.
        for (const u8 s : {slot(field::guest_interrupt_status), slot(field::timer_value)}) c.in_region[s] = ~0ull;
        // Where it passed through a hypervisor, that one's read shadows were written.
        for (const u8 s : {slot(field::cr0_shadow), slot(field::cr4_shadow)}) c.in_region[s] = ~0ull;
    }
    m.running = level;
    m.loaded = now;
    Context& c = *m.level[level].context;
    c.in_region[slot(field::cr0_shadow)] = vmread(field::cr0_shadow);
    c.in_region[slot(field::cr4_shadow)] = vmread(field::cr4_shadow);
}

} // namespace nano
