// SPDX-License-Identifier: Apache-2.0
// VMCS01 and VMCS12 make VMCS02: what this hypervisor wants of its guest OR what the guest hypervisor wants of its own.
#include <initializer_list>

#include "console.h"
#include "monitor.h"
#include "own_controls.h"

extern "C" char vm_exited[], exit_stack_top[];
extern "C" nano::u64 gdt[];
extern "C" char task_state[];

namespace nano {

namespace {

Page merged_bitmaps[2 * max_levels]; // MSR and I/O bitmap A of each level, where the guest's own do not do

u64 word(const FieldImage& v, u8 s, ControlBit c) { return v[s] >> c.number & 1; }

bool has(const FieldImage& v, ControlBit c)
{
    switch (c.word) {
    case Word::pin: return word(v, slot(field::pin_controls), c);
    case Word::primary: return word(v, slot(field::primary_controls), c);
    case Word::secondary:
        return has(v, control::secondary_controls) && word(v, slot(field::secondary_controls), c);
    case Word::exit: return word(v, slot(field::exit_controls), c);
    case Word::entry: return word(v, slot(field::entry_controls), c);
    default: return false;
    }
}

// The guest's page when it wants all that this hypervisor wants, else a copy with the missing bits.
u64 merged_bitmap(u64 guest_page, const Page& wanted, Page& room)
{
    bool complete = true;
    for (const u16 i : own_bitmap_words) complete &= (wanted.words[i] & ~at<Page>(guest_page).words[i]) == 0;
    if (complete) return guest_page;
    for (unsigned i = 0; i < 512; ++i) room.words[i] = at<Page>(guest_page).words[i] | wanted.words[i];
    return address_of(room);
}

} // namespace

bool vmcs12_has(const FieldImage& v12, ControlBit c) { return has(v12, c); }

static void read_all_vmcs12(Monitor& m, Context& c)
{
    open_vmcs12(m, c.source_region);
    c.vmcs12_known = true;
    for (const u8 s : m.offered.read) c.vmcs12[s] = read_vmcs12(m, c.source_region, s);
}

static u32 check_vmcs12(const Monitor& m, const FieldImage& v)
{
    struct {
        Word word;
        u8 s;
    } const words[] = {{Word::pin, slot(field::pin_controls)},
                       {Word::primary, slot(field::primary_controls)},
                       {Word::secondary, slot(field::secondary_controls)},
                       {Word::exit, slot(field::exit_controls)},
                       {Word::entry, slot(field::entry_controls)}};
    for (const auto& w : words) {
        if (w.word == Word::secondary && !has(v, control::secondary_controls)) continue;
        if ((v[w.s] & ~m.offered.allowed[unsigned(w.word)]) || (~v[w.s] & m.offered.required[unsigned(w.word)]))
            return error::entry_controls;
    }
    // What merging hides from the processor's own checks. SDM "Checks on VMX Controls and Host-State Area".
    if (has(v, control::vpid) && v[slot(field::vpid)] == 0) return error::entry_controls;
    const u64 eptp = v[slot(field::eptp)];
    if (has(v, control::ept) && ((eptp & 0xfc0) || (eptp >> 3 & 7) != 3 || ((eptp & 7) != 6 && (eptp & 7) != 0)))
        return error::entry_controls;
    if (!has(v, control::ept) && has(v, control::unrestricted_guest)) return error::entry_controls;
    const auto canonical = [](u64 a) { return u64(int64_t(a << 16) >> 16) == a; };
    const u64 cr0 = v[slot(field::host_cr0)], cr4 = v[slot(field::host_cr4)];
    if ((cr0 & m.real.cr0_fixed0) != m.real.cr0_fixed0 || (cr0 & ~m.real.cr0_fixed1) || (cr4 & m.real.cr4_fixed0) != m.real.cr4_fixed0 ||
        (cr4 & ~m.real.cr4_fixed1) || !has(v, control::host_64) || !(cr4 & cr4_pae))
        return error::entry_host_state;
    for (const u8 s : {slot(field::host_rip), slot(field::host_fs_base), slot(field::host_gs_base), slot(field::host_tr_base),
                       slot(field::host_gdtr_base), slot(field::host_idtr_base), slot(field::host_sysenter_esp),
                       slot(field::host_sysenter_eip)})
        if (!canonical(v[s])) return error::entry_host_state;
    for (u8 i = 0; i < 7; ++i)
        if (v[u8(slot(field::host_es_selector) + i)] & 7) return error::entry_host_state;
    if (v[slot(field::host_cs_selector)] == 0 || v[slot(field::host_tr_selector)] == 0) return error::entry_host_state;
    return 0;
}

// What is the same in every VMCS of this hypervisor.
void prepare_own(Monitor& m, Context& c)
{
    const auto put = [&](u8 s, u64 value) {
        c.in_region[s] = ~value; // written whatever is there
        set(c, s, value);
    };
    for (unsigned i = 0; i < field_count; ++i)
        if (m.real.exists[i] && !is_read_only(field_rows[i].encoding)) put(u8(i), 0);
    struct [[gnu::packed]] {
        u16 limit;
        u64 base;
    } idtr;
    asm volatile("sidt %0" : "=m"(idtr));
    put(slot(field::host_cr0), read_cr0());
    put(slot(field::host_cr3), read_cr3());
    put(slot(field::host_cr4), read_cr4());
    for (u8 i = 0; i < 6; ++i) put(u8(slot(field::host_es_selector) + i), i == 1 ? 0x08 : 0x10);
    put(slot(field::host_tr_selector), 0x18);
    put(slot(field::host_tr_base), reinterpret_cast<u64>(task_state));
    put(slot(field::host_gdtr_base), reinterpret_cast<u64>(gdt));
    put(slot(field::host_idtr_base), idtr.base);
    put(slot(field::host_efer), rdmsr(msr::efer));
    put(slot(field::host_rip), reinterpret_cast<u64>(vm_exited));
    put(slot(field::host_rsp), reinterpret_cast<u64>(exit_stack_top));
    put(slot(field::link_pointer), no_address);
    const u64* required = m.real.required;
    put(slot(field::pin_controls), required[unsigned(Word::pin)] | own_pin_controls(m));
    put(slot(field::exit_controls), own_exit_controls | required[unsigned(Word::exit)]);
    c.guest_known = true;
}

namespace {

// The controls by which this hypervisor serves VMX instructions of the guest that `c` runs.
u64 serving_controls(Monitor& m, Context& c)
{
    if (!m.hardware_shadow || m.serves == 0) return 0;
    set(c, slot(field::vmread_bitmap), address_of(vmread_bitmap()));
    set(c, slot(field::vmwrite_bitmap), address_of(vmread_bitmap()));
    return bit(control::vmcs_shadowing.number);
}

} // namespace

void start_own(Monitor& m, Context& c)
{
    const bool linux_guest = m.options.linux_guest;
    const u64* required = m.real.required;
    const u64 bits = own_secondary_controls & m.real.allowed[unsigned(Word::secondary)];
    u64 primary = own_primary_controls | required[unsigned(Word::primary)];
    primary &= ~(bit(control::cr3_load_exiting.number) | bit(control::cr3_store_exiting.number));
    if (!linux_guest) primary |= bit(control::hlt_exiting.number);
    set(c, slot(field::primary_controls), primary | (required[unsigned(Word::primary)]));
    set(c, slot(field::secondary_controls), bits | serving_controls(m, c) | required[unsigned(Word::secondary)]);
    set(c, slot(field::entry_controls), own_entry_controls | required[unsigned(Word::entry)]);
    set(c, slot(field::io_bitmap_a), address_of(own_io_bitmap()));
    set(c, slot(field::io_bitmap_b), address_of(empty_io_bitmap()));
    set(c, slot(field::msr_bitmap), address_of(own_msr_bitmap()));
    set(c, slot(field::cr0_mask), cr0_ne);
    set(c, slot(field::cr4_mask), cr4_vmxe);
    if (m.real.exists[slot(field::vpid)]) set(c, slot(field::vpid), 1);
    if (m.real.exists[slot(0x2032)]) set(c, slot(0x2032), 1ull << 48);
    c.ept = &m.own_ept;
    set(c, slot(field::eptp), ept_pointer(m.own_ept));
}

u32 merge(Monitor& m, unsigned level)
{
    Context& c = *m.level[level].context;
    const Context& below = *m.level[level - 1].context;
    FieldImage& v = c.vmcs12;
    const u64 debugctl = vmread(field::guest_debugctl), dr7 = vmread(field::guest_dr7), pat = vmread(field::guest_pat),
              efer = vmread(field::guest_efer);
    read_all_vmcs12(m, c);
    if (const u32 wrong = check_vmcs12(m, v)) return wrong;
    load(m, address_of(*c.region));

    bool good = true;
    const auto own = [&](u64 address) {
        const u64 a = to_own(m, level - 1, address);
        if (a == no_address) good = false;
        return a == no_address ? 0 : a;
    };
    for (const u8 s : m.offered.guest)
        if (field_rows[s].rule == Rule::guest && !holds(c, s, v[s], true)) set(c, s, v[s]);
    for (const u8 s : m.offered.control)
        if (!holds(c, s, v[s], false)) set(c, s, v[s]);
    for (const u8 s : m.offered.address)
        if (has(v, field_rows[s].used_by)) set(c, s, own(v[s]));
    // VM exits to this hypervisor leave no valid event behind; what the processor routed elsewhere may have.
    if ((v[slot(field::entry_event)] & bit(31)) || m.options.routing != Routing::sdm) {
        set(c, slot(field::entry_event), v[slot(field::entry_event)]);
        set(c, slot(field::entry_error_code), v[slot(field::entry_error_code)]);
        set(c, slot(field::entry_length), v[slot(field::entry_length)]);
    }
    // SDM "Loading Guest Control Registers, Debug Registers, and MSRs": what is not loaded stays as the guest hypervisor had it.
    const bool debug = has(v, control::load_debug), long_mode = has(v, control::ia32e_guest);
    set(c, slot(field::guest_debugctl), debug ? v[slot(field::guest_debugctl)] : debugctl);
    set(c, slot(field::guest_dr7), debug ? v[slot(field::guest_dr7)] : dr7);
    set(c, slot(field::guest_pat), has(v, control::entry_load_pat) ? v[slot(field::guest_pat)] : pat);
    set(c, slot(field::guest_efer), has(v, control::entry_load_efer) ? v[slot(field::guest_efer)]
                                    : long_mode                      ? efer | efer_lme | efer_lma
                                                                     : efer & ~(efer_lme | efer_lma));

    const u64* required = m.real.required;
    set(c, slot(field::pin_controls), v[slot(field::pin_controls)] | required[unsigned(Word::pin)] | own_pin_controls(m));
    u64 primary = v[slot(field::primary_controls)] | bit(control::secondary_controls.number);
    u64 secondary = has(v, control::secondary_controls) ? v[slot(field::secondary_controls)] : 0;
    secondary |= bit(control::ept.number);
    const auto lies_in_room = [&](u8 s) {
        const u64 a = c.in_region[s];
        return a == address_of(merged_bitmaps[2 * level - 2]) || a == address_of(merged_bitmaps[2 * level - 1]) ||
               a == address_of(own_io_bitmap());
    };
    // Without MSR bitmaps every access exits, and without I/O bitmaps those exit that the guest hypervisor wants, and ours.
    if (has(v, control::msr_bitmaps))
        set(c, slot(field::msr_bitmap),
            merged_bitmap(own(v[slot(field::msr_bitmap)]), own_msr_bitmap(), merged_bitmaps[2 * level - 2]));
    if (has(v, control::io_bitmaps)) {
        set(c, slot(field::io_bitmap_a),
            merged_bitmap(own(v[slot(field::io_bitmap_a)]), own_io_bitmap(), merged_bitmaps[2 * level - 1]));
        set(c, slot(field::io_bitmap_b), own(v[slot(field::io_bitmap_b)]));
    } else if (!has(v, control::unconditional_io)) {
        primary |= bit(control::io_bitmaps.number);
        set(c, slot(field::io_bitmap_a), address_of(own_io_bitmap()));
        set(c, slot(field::io_bitmap_b), address_of(empty_io_bitmap()));
    }
    const bool own_bits_added = (has(v, control::msr_bitmaps) && lies_in_room(slot(field::msr_bitmap))) ||
                                (!has(v, control::unconditional_io) && lies_in_room(slot(field::io_bitmap_a)));
    if (level <= m.serves) {
        secondary &= ~bit(control::vmcs_shadowing.number);
        secondary |= serving_controls(m, c);
        set(c, slot(field::link_pointer), m.hardware_shadow && m.level[level].vmx_on ? m.level[level].current_region : no_address);
    } else {
        const u64 link = v[slot(field::link_pointer)];
        set(c, slot(field::link_pointer), link == no_address ? link : own(link));
    }
    set(c, slot(field::primary_controls), primary);
    set(c, slot(field::secondary_controls), secondary);
    set(c, slot(field::exit_controls), own_exit_controls | required[unsigned(Word::exit)] |
                                           (v[slot(field::exit_controls)] & (bit(control::acknowledge_interrupt.number) |
                                                                             bit(control::save_timer.number))));
    set(c, slot(field::entry_controls),
        own_entry_controls | required[unsigned(Word::entry)] | (long_mode ? bit(control::ia32e_guest.number) : 0));
    u64 offset = below.in_region[slot(field::tsc_offset)];
    if (has(v, control::tsc_offsetting)) offset += v[slot(field::tsc_offset)];
    if (offset) set(c, slot(field::primary_controls), primary | bit(control::tsc_offsetting.number));
    set(c, slot(field::tsc_offset), offset);

    // A tag of its own for each that the guest hypervisor uses. The last one has no successor: the guest does without.
    if (has(v, control::vpid)) {
        if (v[slot(field::vpid)] == 0xffff) {
            secondary &= ~bit(control::vpid.number);
            set(c, slot(field::secondary_controls), secondary);
        } else set(c, slot(field::vpid), v[slot(field::vpid)] + 1);
    }
    c.ept = has(v, control::ept) ? &ept_for(m, level - 1, v[slot(field::eptp)]) : below.ept;
    set(c, slot(field::eptp), ept_pointer(*c.ept));

    // Lists of MSRs are the guest hypervisor's; the processor works them off. The first exit takes the entry's list away.
    const u64 loads = v[slot(field::entry_msr_load_count)], stores = v[slot(field::exit_msr_store_count)];
    set(c, slot(field::entry_msr_load_count), loads);
    if (loads) set(c, slot(field::entry_msr_load_address), own(v[slot(field::entry_msr_load_address)]));
    set(c, slot(field::exit_msr_store_count), stores);
    if (stores) set(c, slot(field::exit_msr_store_address), own(v[slot(field::exit_msr_store_address)]));
    if (m.options.routing != Routing::sdm) program_routing(m, level, own_bits_added);
    return good ? 0 : error::entry_controls;
}

} // namespace nano
