// SPDX-License-Identifier: Apache-2.0
// VMCS regions: the current one, those that guests keep in their memory, and those by which their guests run.
//
// A guest's VMCS12 is, where the processor has VMCS shadowing, a shadow VMCS of the processor in the guest's own page: the
// guest's VMREAD and VMWRITE act on it without an exit, and this hypervisor loads it to read it. Without VMCS shadowing it is
// an array in that page.
#include "console.h"
#include "monitor.h"

namespace nano {

namespace {

constexpr u64 array_offset = 16;
constexpr u32 shadow_indicator = 1u << 31;

u64& element(u64 region, u8 s) { return at<u64>(region + array_offset + 8 * s); }

Page context_pages[context_count];

} // namespace

void load(Monitor& m, u64 region)
{
    if (m.loaded == region) return;
    if (vmptrld(region) != Outcome::succeeded) panic("VMPTRLD fails", region);
    m.loaded = region;
}

void set(Context& c, u8 s, u64 value)
{
    const Rule rule = field_rows[s].rule;
    // VM exits write the guest state, the valid bit of the event, and "IA-32e mode guest".
    const bool known = rule <= Rule::guest_efer ? c.guest_known : rule != Rule::event && s != slot(field::entry_controls);
    if (known && c.in_region[s] == value) return;
    if (vmwrite(field_rows[s].encoding, value) != Outcome::succeeded) panic("VMWRITE fails", field_rows[s].encoding);
    c.in_region[s] = value;
}

void open_vmcs12(Monitor& m, u64 region)
{
    if (m.hardware_shadow) load(m, region);
}

u64 read_vmcs12(Monitor& m, u64 region, u8 s)
{
    return m.hardware_shadow ? vmread(field_rows[s].encoding) : element(region, s);
}

void write_vmcs12(Monitor& m, u64 region, u8 s, u64 value)
{
    if (m.hardware_shadow) vmwrite(field_rows[s].encoding, value);
    else element(region, s) = value;
}

Tracked* find_tracked(Monitor& m, unsigned level, u64 address)
{
    for (Tracked& t : m.tracked)
        if (t.address == address && t.level == level) return &t;
    return nullptr;
}

Tracked& track(Monitor& m, unsigned level, u64 address)
{
    if (Tracked* t = find_tracked(m, level, address)) return *t;
    for (Tracked& t : m.tracked)
        if (t.level == 0) {
            t = {address, level, false, false};
            const u64 region = to_own(m, level, address);
            if (m.hardware_shadow && !(at<u32>(region) & shadow_indicator)) {
                at<u32>(region) |= shadow_indicator;
                t.marked = true;
            }
            return t;
        }
    panic("a guest has more active VMCSs than this hypervisor tracks", tracked_count);
}

Context& context_for(Monitor& m, unsigned parent, u64 address, u64 region)
{
    Context* oldest = nullptr;
    for (unsigned i = 0; i < context_count; ++i) {
        Context& c = m.contexts[i];
        if (c.region && c.parent == parent && c.source == address && c.source_region == region) {
            c.age = ++m.clock;
            return c;
        }
        bool in_use = false;
        for (const Level& l : m.level) in_use |= l.context == &c;
        if (!in_use && (!oldest || c.age < oldest->age)) oldest = &c;
    }
    Context& c = *oldest;
    if (c.region) vmclear(address_of(*c.region));
    if (m.loaded == address_of(*c.region)) m.loaded = no_address;
    c = {};
    c.region = &context_pages[&c - m.contexts];
    c.parent = parent;
    c.source = address;
    c.source_region = region;
    c.age = ++m.clock;
    c.region->words[0] = m.real.revision;
    vmclear(address_of(*c.region));
    load(m, address_of(*c.region));
    prepare_own(m, c);
    return c;
}

} // namespace nano
