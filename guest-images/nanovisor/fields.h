// SPDX-License-Identifier: Apache-2.0
// Every VMCS field that this hypervisor and its guests use, one row each: encoding, how VMCS02 and VMCS12 get it from one
// another, the control that makes it exist. In the words of nesting: VMCS01 runs a guest, VMCS12 is what the guest keeps for its
// own guest, and VMCS02 runs that one.
#pragma once

#include "x86.h"

namespace nano {

enum class Rule : u8 {
    guest,        // VMCS12 -> VMCS02 at entry, back at exit
    guest_debug,  // the same as "load debug controls" and "save debug controls" say
    guest_pat,    // ... "load IA32_PAT" and "save IA32_PAT"
    guest_efer,   // ... "load IA32_EFER" and "save IA32_EFER"
    event,        // VMCS12 -> VMCS02 at entry
    control,      // VMCS12 -> VMCS02 at entry; this hypervisor asks for nothing there while a nested guest runs
    address,      // the same, translated, where `used_by` is set in VMCS12
    merged,       // computed in merge.cpp
    information,  // VMCS02 -> VMCS12 at exit
    host,         // of VMCS12: becomes the guest state of VMCS01 at exit
};

enum class Word : u8 { none, pin, primary, secondary, exit, entry };

struct ControlBit {
    Word word = Word::none;
    u8 number = 0;
};

// SDM "VM-Execution Control Fields", "VM-Exit Control Fields", "VM-Entry Control Fields".
namespace control {
constexpr ControlBit external_interrupt_exiting{Word::pin, 0}, nmi_exiting{Word::pin, 3}, virtual_nmis{Word::pin, 5},
    preemption_timer{Word::pin, 6}, posted_interrupts{Word::pin, 7};
constexpr ControlBit interrupt_window{Word::primary, 2}, tsc_offsetting{Word::primary, 3}, hlt_exiting{Word::primary, 7},
    invlpg_exiting{Word::primary, 9}, mwait_exiting{Word::primary, 10}, rdpmc_exiting{Word::primary, 11},
    rdtsc_exiting{Word::primary, 12}, cr3_load_exiting{Word::primary, 15}, cr3_store_exiting{Word::primary, 16},
    tertiary_controls{Word::primary, 17}, cr8_load_exiting{Word::primary, 19}, cr8_store_exiting{Word::primary, 20},
    tpr_shadow{Word::primary, 21}, nmi_window{Word::primary, 22}, mov_dr_exiting{Word::primary, 23},
    unconditional_io{Word::primary, 24}, io_bitmaps{Word::primary, 25}, monitor_trap_flag{Word::primary, 27},
    msr_bitmaps{Word::primary, 28}, monitor_exiting{Word::primary, 29}, pause_exiting{Word::primary, 30},
    secondary_controls{Word::primary, 31};
constexpr ControlBit apic_accesses{Word::secondary, 0}, ept{Word::secondary, 1}, descriptor_table{Word::secondary, 2},
    rdtscp{Word::secondary, 3}, x2apic{Word::secondary, 4}, vpid{Word::secondary, 5}, wbinvd_exiting{Word::secondary, 6},
    unrestricted_guest{Word::secondary, 7}, apic_registers{Word::secondary, 8}, virtual_interrupts{Word::secondary, 9},
    pause_loop{Word::secondary, 10}, rdrand_exiting{Word::secondary, 11}, invpcid{Word::secondary, 12},
    vmcs_shadowing{Word::secondary, 14}, rdseed_exiting{Word::secondary, 16}, xsaves{Word::secondary, 20},
    tsc_scaling{Word::secondary, 25}, user_wait{Word::secondary, 26};
constexpr ControlBit save_debug{Word::exit, 2}, host_64{Word::exit, 9}, acknowledge_interrupt{Word::exit, 15},
    save_pat{Word::exit, 18}, exit_load_pat{Word::exit, 19}, save_efer{Word::exit, 20}, exit_load_efer{Word::exit, 21},
    save_timer{Word::exit, 22};
constexpr ControlBit load_debug{Word::entry, 2}, ia32e_guest{Word::entry, 9}, entry_load_pat{Word::entry, 14},
    entry_load_efer{Word::entry, 15};
} // namespace control

// SDM Appendix "Field Encoding in VMCS".
namespace field {
constexpr u32 vpid = 0x0000, guest_es_selector = 0x0800, guest_cs_selector = 0x0802, guest_ss_selector = 0x0804,
              guest_ldtr_selector = 0x080c, guest_tr_selector = 0x080e, guest_interrupt_status = 0x0810,
              host_es_selector = 0x0c00, host_cs_selector = 0x0c02, host_tr_selector = 0x0c0c, io_bitmap_a = 0x2000, io_bitmap_b = 0x2002, msr_bitmap = 0x2004,
              exit_msr_store_address = 0x2006, exit_msr_load_address = 0x2008, entry_msr_load_address = 0x200a,
              tsc_offset = 0x2010, virtual_apic = 0x2012, apic_access = 0x2014, posted_descriptor = 0x2016, eptp = 0x201a,
              vmread_bitmap = 0x2026, vmwrite_bitmap = 0x2028, tertiary_controls = 0x2034, guest_physical_address = 0x2400,
              link_pointer = 0x2800, guest_debugctl = 0x2802, guest_pat = 0x2804, guest_efer = 0x2806, host_pat = 0x2c00,
              host_efer = 0x2c02, pin_controls = 0x4000, primary_controls = 0x4002, exception_bitmap = 0x4004,
              page_fault_mask = 0x4006, page_fault_match = 0x4008, cr3_target_count = 0x400a, exit_controls = 0x400c,
              exit_msr_store_count = 0x400e, exit_msr_load_count = 0x4010, entry_controls = 0x4012,
              entry_msr_load_count = 0x4014, entry_event = 0x4016, entry_error_code = 0x4018, entry_length = 0x401a,
              tpr_threshold = 0x401c, secondary_controls = 0x401e, instruction_error = 0x4400, exit_reason = 0x4402,
              exit_event = 0x4404, exit_event_error = 0x4406, vectoring = 0x4408, vectoring_error = 0x440a,
              instruction_length = 0x440c, instruction_information = 0x440e, guest_es_limit = 0x4800,
              guest_cs_limit = 0x4802, guest_ldtr_limit = 0x480c, guest_tr_limit = 0x480e, guest_gdtr_limit = 0x4810,
              guest_idtr_limit = 0x4812, guest_es_access = 0x4814, guest_cs_access = 0x4816, guest_ss_access = 0x4818,
              guest_ldtr_access = 0x4820, guest_tr_access = 0x4822, interruptibility = 0x4824, activity = 0x4826,
              guest_sysenter_cs = 0x482a, timer_value = 0x482e, host_sysenter_cs = 0x4c00, cr0_mask = 0x6000,
              cr4_mask = 0x6002, cr0_shadow = 0x6004, cr4_shadow = 0x6006, cr3_target_0 = 0x6008, qualification = 0x6400,
              guest_linear_address = 0x640a, guest_cr0 = 0x6800, guest_cr3 = 0x6802, guest_cr4 = 0x6804,
              guest_es_base = 0x6806, guest_cs_base = 0x6808, guest_fs_base = 0x680e, guest_gs_base = 0x6810,
              guest_ldtr_base = 0x6812, guest_tr_base = 0x6814, guest_gdtr_base = 0x6816, guest_idtr_base = 0x6818,
              guest_dr7 = 0x681a, guest_rsp = 0x681c, guest_rip = 0x681e, guest_rflags = 0x6820, pending_debug = 0x6822,
              guest_sysenter_esp = 0x6824, guest_sysenter_eip = 0x6826, host_cr0 = 0x6c00, host_cr3 = 0x6c02,
              host_cr4 = 0x6c04, host_fs_base = 0x6c06, host_gs_base = 0x6c08, host_tr_base = 0x6c0a,
              host_gdtr_base = 0x6c0c, host_idtr_base = 0x6c0e, host_sysenter_esp = 0x6c10, host_sysenter_eip = 0x6c12,
              host_rsp = 0x6c14, host_rip = 0x6c16;
} // namespace field

struct FieldRow {
    u16 encoding;
    Rule rule;
    ControlBit needs{};   // the field exists where this control may be 1
    ControlBit used_by{}; // of an address: meaningful where this control is 1
};

constexpr FieldRow field_rows[] = {
    {field::vpid, Rule::merged, control::vpid},
    {0x0002, Rule::control, control::posted_interrupts},
    {0x0800, Rule::guest}, {0x0802, Rule::guest}, {0x0804, Rule::guest}, {0x0806, Rule::guest}, {0x0808, Rule::guest},
    {0x080a, Rule::guest}, {0x080c, Rule::guest}, {0x080e, Rule::guest},
    {field::guest_interrupt_status, Rule::guest, control::virtual_interrupts},
    {0x0c00, Rule::host}, {0x0c02, Rule::host}, {0x0c04, Rule::host}, {0x0c06, Rule::host}, {0x0c08, Rule::host},
    {0x0c0a, Rule::host}, {0x0c0c, Rule::host},
    {field::io_bitmap_a, Rule::merged},
    {field::io_bitmap_b, Rule::merged},
    {field::msr_bitmap, Rule::merged, control::msr_bitmaps},
    {field::exit_msr_store_address, Rule::merged},
    {field::exit_msr_load_address, Rule::host},
    {field::entry_msr_load_address, Rule::merged},
    {field::tsc_offset, Rule::merged},
    {field::virtual_apic, Rule::address, control::tpr_shadow, control::tpr_shadow},
    {field::apic_access, Rule::address, control::apic_accesses, control::apic_accesses},
    {field::posted_descriptor, Rule::address, control::posted_interrupts, control::posted_interrupts},
    {field::eptp, Rule::merged, control::ept},
    {0x201c, Rule::control, control::virtual_interrupts}, {0x201e, Rule::control, control::virtual_interrupts},
    {0x2020, Rule::control, control::virtual_interrupts}, {0x2022, Rule::control, control::virtual_interrupts},
    {field::vmread_bitmap, Rule::address, control::vmcs_shadowing, control::vmcs_shadowing},
    {field::vmwrite_bitmap, Rule::address, control::vmcs_shadowing, control::vmcs_shadowing},
    {0x202c, Rule::control, control::xsaves},
    {0x2032, Rule::control, control::tsc_scaling},
    {field::guest_physical_address, Rule::information, control::ept},
    {field::link_pointer, Rule::merged},
    {field::guest_debugctl, Rule::guest_debug},
    {field::guest_pat, Rule::guest_pat, control::entry_load_pat},
    {field::guest_efer, Rule::guest_efer, control::entry_load_efer},
    {0x280a, Rule::guest, control::ept}, {0x280c, Rule::guest, control::ept}, {0x280e, Rule::guest, control::ept},
    {0x2810, Rule::guest, control::ept},
    {field::host_pat, Rule::host, control::exit_load_pat},
    {field::host_efer, Rule::host, control::exit_load_efer},
    {field::pin_controls, Rule::merged},
    {field::primary_controls, Rule::merged},
    {field::exception_bitmap, Rule::control},
    {field::page_fault_mask, Rule::control},
    {field::page_fault_match, Rule::control},
    {field::cr3_target_count, Rule::control},
    {field::exit_controls, Rule::merged},
    {field::exit_msr_store_count, Rule::merged},
    {field::exit_msr_load_count, Rule::host},
    {field::entry_controls, Rule::merged},
    {field::entry_msr_load_count, Rule::merged},
    {field::entry_event, Rule::event},
    {field::entry_error_code, Rule::event},
    {field::entry_length, Rule::event},
    {field::tpr_threshold, Rule::control, control::tpr_shadow},
    {field::secondary_controls, Rule::merged, control::secondary_controls},
    {0x4020, Rule::control, control::pause_loop}, {0x4022, Rule::control, control::pause_loop},
    {field::instruction_error, Rule::merged},
    {field::exit_reason, Rule::information},
    {field::exit_event, Rule::information},
    {field::exit_event_error, Rule::information},
    {field::vectoring, Rule::information},
    {field::vectoring_error, Rule::information},
    {field::instruction_length, Rule::information},
    {field::instruction_information, Rule::information},
    {0x4800, Rule::guest}, {0x4802, Rule::guest}, {0x4804, Rule::guest}, {0x4806, Rule::guest}, {0x4808, Rule::guest},
    {0x480a, Rule::guest}, {0x480c, Rule::guest}, {0x480e, Rule::guest}, {0x4810, Rule::guest}, {0x4812, Rule::guest},
    {0x4814, Rule::guest}, {0x4816, Rule::guest}, {0x4818, Rule::guest}, {0x481a, Rule::guest}, {0x481c, Rule::guest},
    {0x481e, Rule::guest}, {0x4820, Rule::guest}, {0x4822, Rule::guest}, {0x4824, Rule::guest}, {0x4826, Rule::guest},
    {0x482a, Rule::guest},
    {field::timer_value, Rule::guest, control::preemption_timer},
    {field::host_sysenter_cs, Rule::host},
    {field::cr0_mask, Rule::control},
    {field::cr4_mask, Rule::control},
    {field::cr0_shadow, Rule::control},
    {field::cr4_shadow, Rule::control},
    {0x6008, Rule::control}, {0x600a, Rule::control}, {0x600c, Rule::control}, {0x600e, Rule::control},
    {field::qualification, Rule::information},
    {0x6402, Rule::merged}, {0x6404, Rule::merged}, {0x6406, Rule::merged}, {0x6408, Rule::merged}, // of exits to SMM
    {field::guest_linear_address, Rule::information},
    {0x6800, Rule::guest}, {0x6802, Rule::guest}, {0x6804, Rule::guest}, {0x6806, Rule::guest}, {0x6808, Rule::guest},
    {0x680a, Rule::guest}, {0x680c, Rule::guest}, {0x680e, Rule::guest}, {0x6810, Rule::guest}, {0x6812, Rule::guest},
    {0x6814, Rule::guest}, {0x6816, Rule::guest}, {0x6818, Rule::guest},
    {field::guest_dr7, Rule::guest_debug},
    {0x681c, Rule::guest}, {0x681e, Rule::guest}, {0x6820, Rule::guest}, {0x6822, Rule::guest}, {0x6824, Rule::guest},
    {0x6826, Rule::guest},
    {0x6c00, Rule::host}, {0x6c02, Rule::host}, {0x6c04, Rule::host}, {0x6c06, Rule::host}, {0x6c08, Rule::host},
    {0x6c0a, Rule::host}, {0x6c0c, Rule::host}, {0x6c0e, Rule::host}, {0x6c10, Rule::host}, {0x6c12, Rule::host},
    {0x6c14, Rule::host}, {0x6c16, Rule::host},
};

constexpr unsigned field_count = sizeof field_rows / sizeof field_rows[0];
constexpr u8 no_slot = 0xff;
static_assert(field_count < no_slot);

// Row by (width, area, index).
struct SlotTable {
    u8 slot[1024];
};
constexpr SlotTable slot_table = [] {
    SlotTable t{};
    for (u8& s : t.slot) s = no_slot;
    for (unsigned i = 0; i < field_count; ++i) {
        const unsigned e = field_rows[i].encoding;
        t.slot[(e >> 13 & 3) << 8 | (e >> 10 & 3) << 6 | (e >> 1 & 63)] = u8(i);
    }
    return t;
}();

// The row of a field that software names; no_slot where there is none.
constexpr u8 find_slot(u64 encoding)
{
    if ((encoding & ~0x6ffeull) != 0 || (encoding >> 1 & 0x1ff) >= 64) return no_slot;
    return slot_table.slot[(encoding >> 13 & 3) << 8 | (encoding >> 10 & 3) << 6 | (encoding >> 1 & 63)];
}

// The row of a field that this program names.
void there_is_no_such_row(); // a call stops the compiler
consteval u8 slot(u32 encoding)
{
    const u8 found = find_slot(encoding);
    if (found == no_slot) there_is_no_such_row();
    return found;
}

constexpr u64 field_mask(u32 encoding)
{
    const unsigned width = encoding >> 13 & 3;
    return width == 0 ? 0xffff : width == 2 ? 0xffffffff : ~0ull;
}

constexpr bool is_read_only(u32 encoding) { return (encoding >> 10 & 3) == 1; }

// Values of all fields, by slot.
struct FieldImage {
    u64 value[field_count];
    u64& operator[](u8 s) { return value[s]; }
    u64 operator[](u8 s) const { return value[s]; }
};

} // namespace nano
