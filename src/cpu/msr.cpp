// SPDX-License-Identifier: Apache-2.0
// The MSR table: lookup, the rows of the CPU proper, and the checks that WRMSR makes.
#include "cpu/msr.h"

#include <algorithm>

#include "cpu/cpuid.h"
#include "cpu/debug.h"
#include "cpu/msr_protection.h"
#include "cpu/segmentation.h"

namespace droste {

MsrTable::MsrTable(std::initializer_list<MsrRows> groups) {
    for (const MsrRows group : groups)
        for (const MsrRow& row : group) rows_.push_back(&row);
    std::sort(rows_.begin(), rows_.end(),
              [](const MsrRow* a, const MsrRow* b) { return a->index < b->index; });
    for (std::size_t i = 1; i < rows_.size(); ++i)
        ASSERT(rows_[i - 1]->index + rows_[i - 1]->count <= rows_[i]->index);
}

const MsrRow* MsrTable::find(u32 index) const {
    const auto after = std::upper_bound(rows_.begin(), rows_.end(), index,
                                        [](u32 i, const MsrRow* r) { return i < r->index; });
    if (after == rows_.begin()) return nullptr;
    const MsrRow* r = *(after - 1);
    return index - r->index < r->count ? r : nullptr;
}

std::optional<u64> MsrTable::read(Cpu& cpu, u32 index) const {
    const MsrRow* r = find(index);
    if (r == nullptr || !cpu.has(r->needs)) return std::nullopt;
    if (r->read != nullptr) return r->read(cpu, index);
    if (r->member != nullptr) return cpu.*(r->member);
    return std::nullopt;
}

bool MsrTable::write(Cpu& cpu, u32 index, u64 value) const {
    const MsrRow* r = find(index);
    if (r == nullptr || !cpu.has(r->needs)) return false;
    if (r->write != nullptr) return r->write(cpu, index, value);
    if (r->member == nullptr || (value & ~r->writable)) return false;
    cpu.*(r->member) = value;
    return true;
}

namespace {

template <u64 CpuState::*member> bool write_canonical(Cpu& cpu, u32, u64 value) {
    if (!holds_linear_address(cpu, value)) return false;
    cpu.*member = value;
    return true;
}

/// Registers of 32 bits whose upper half is not there.
template <u64 CpuState::*member> bool write_low_half(Cpu& cpu, u32, u64 value) {
    cpu.*member = value & 0xFFFFFFFF;
    return true;
}

std::optional<u64> read_zero(Cpu&, u32) { return 0; }
bool ignore_write(Cpu&, u32, u64) { return true; }
/// Commands: bit 0 does what has no visible effect here; the rest is reserved.
bool command_bit0(Cpu&, u32, u64 value) { return (value & ~1ull) == 0; }

// ---- time

std::optional<u64> read_tsc(Cpu& cpu, u32) { return cpu.read_tsc(); }
bool write_tsc(Cpu& cpu, u32, u64 value) {
    const u64 delta = value - (cpu.now() + cpu.tsc_offset_host);
    cpu.tsc_offset_host += delta;
    cpu.tsc_adjust += delta;  // SDM "IA32_TSC_ADJUST MSR"
    cpu.interrupts.tsc_changed();
    return true;
}
bool write_tsc_adjust(Cpu& cpu, u32, u64 value) {
    cpu.tsc_offset_host += value - cpu.tsc_adjust;
    cpu.tsc_adjust = value;
    cpu.interrupts.tsc_changed();
    return true;
}

// ---- the interrupt controller's

std::optional<u64> read_apic(Cpu& cpu, u32 index) { return cpu.interrupts.read_msr(index); }
bool write_apic(Cpu& cpu, u32 index, u64 value) {
    if (!cpu.interrupts.write_msr(index, value)) return false;
    cpu.set_attention();
    return true;
}

// ---- identification, microcode, speculation

std::optional<u64> read_bios_sign(Cpu& cpu, u32) { return cpu.machine_msrs.bios_sign_id; }
bool write_bios_sign(Cpu& cpu, u32, u64 value) {
    cpu.machine_msrs.bios_sign_id = value;
    return true;
}
std::optional<u64> read_arch_capabilities(Cpu& cpu, u32) { return cpu.model.arch_capabilities; }

bool write_debugctl(Cpu& cpu, u32, u64 value) {
    if (value & ~valid_debugctl(cpu)) return false;
    cpu.debugctl = value;
    cpu.watch_changed();
    return true;
}

bool write_spec_ctrl(Cpu& cpu, u32, u64 value) {
    if (!valid_spec_ctrl(cpu, value)) return false;
    cpu.spec_ctrl = value;
    return true;
}

// ---- extended feature disable

template <u64 AmxState::*member> std::optional<u64> read_xfd(Cpu& cpu, u32) { return cpu.amx.*member; }
/// Bits of components that the model lacks or that cannot be disabled are reserved.
template <u64 AmxState::*member> bool write_xfd(Cpu& cpu, u32, u64 value) {
    u64 valid = 0;
    for (const XstateComponent& x : xstate_components)
        if (x.xfd) valid |= (1ull << x.number) & (cpu.model.valid_xcr0 | cpu.model.valid_xss);
    if (value & ~valid) return false;
    cpu.amx.*member = value;
    return true;
}

// ---- machine check: four banks that never report anything

constexpr u32 machine_check_banks = 4;
constexpr u32 mc_first = 0x400;
constexpr u64 cmci = 1 << 10;
std::optional<u64> read_mcg_cap(Cpu&, u32) { return machine_check_banks | cmci; }
/// SDM "CMCI Local APIC Interface": CMCI_EN reads as 0 where a bank signals no corrected errors, and none does.
std::optional<u64> read_mc_ctl2(Cpu&, u32) { return 0; }
bool write_mc_ctl2(Cpu&, u32, u64 value) { return (value & ~0x4000'7FFFull) == 0; }
std::optional<u64> read_mcg_status(Cpu& cpu, u32) { return cpu.machine_msrs.mcg_status; }
bool write_mcg_status(Cpu& cpu, u32, u64 value) {
    if (value & ~7ull) return false;
    cpu.machine_msrs.mcg_status = value;
    return true;
}
std::optional<u64> read_mc(Cpu& cpu, u32 index) { return cpu.machine_msrs.mc[index - mc_first]; }
bool write_mc(Cpu& cpu, u32 index, u64 value) {
    // SDM "IA32_MCi_STATUS MSRS": software may only clear STATUS, ADDR and MISC.
    const bool control = ((index - mc_first) & 3) == 0;
    // CTL takes 0 or all ones; what other values do is undefined, and here they are refused.
    if (value != 0 && (!control || value != ~0ull)) return false;
    cpu.machine_msrs.mc[index - mc_first] = value;
    return true;
}

bool write_misc_enable(Cpu& cpu, u32, u64 value) {
    using namespace misc_enable_bits;
    if (value & ~(writable | read_only)) return false;
    cpu.misc_enable = (cpu.misc_enable & ~writable) | (value & writable);
    return true;
}

// ---- memory types

constexpr u32 variable_ranges = 10;
constexpr u32 mtrr_variable_first = 0x200;
constexpr bool valid_mtrr_type(u64 t) { return t == 0 || t == 1 || (t >= 4 && t <= 6); }

std::optional<u64> read_mtrr_cap(Cpu&, u32) {
    constexpr u64 fixed = 1 << 8, write_combining = 1 << 10;
    return variable_ranges | fixed | write_combining;
}
std::optional<u64> read_mtrr_variable(Cpu& cpu, u32 index) {
    return cpu.machine_msrs.mtrr_variable[index - mtrr_variable_first];
}
bool write_mtrr_variable(Cpu& cpu, u32 index, u64 value) {
    if (value >> cpu.model.maxphyaddr) return false;
    const bool mask = index & 1;
    if (mask ? (value & 0x7FF) != 0 : (value & 0xF00) != 0 || !valid_mtrr_type(value & 0xFF)) return false;
    cpu.machine_msrs.mtrr_variable[index - mtrr_variable_first] = value;
    return true;
}

constexpr unsigned fixed_slot(u32 index) {
    return index == 0x250 ? 0 : index < 0x260 ? index - 0x258 + 1 : index - 0x268 + 3;
}
std::optional<u64> read_mtrr_fixed(Cpu& cpu, u32 index) {
    return cpu.machine_msrs.mtrr_fixed[fixed_slot(index)];
}
bool write_mtrr_fixed(Cpu& cpu, u32 index, u64 value) {
    for (unsigned i = 0; i < 8; ++i)
        if (!valid_mtrr_type((value >> (8 * i)) & 0xFF)) return false;
    cpu.machine_msrs.mtrr_fixed[fixed_slot(index)] = value;
    return true;
}

std::optional<u64> read_mtrr_default(Cpu& cpu, u32) { return cpu.machine_msrs.mtrr_def_type; }
bool write_mtrr_default(Cpu& cpu, u32, u64 value) {
    if ((value & ~0xCFFull) || !valid_mtrr_type(value & 0xFF)) return false;
    cpu.machine_msrs.mtrr_def_type = value;
    return true;
}

bool write_pat(Cpu& cpu, u32, u64 value) {
    if (!valid_pat(value)) return false;
    cpu.pat = value;
    return true;
}

// ---- extended state, long mode

bool write_xss(Cpu& cpu, u32, u64 value) {
    if (value & ~cpu.model.valid_xss) return false;
    cpu.xss = value;
    return true;
}

bool write_efer_row(Cpu& cpu, u32, u64 value) { return write_efer(cpu, value); }

template <Seg s> std::optional<u64> read_base(Cpu& cpu, u32) { return cpu.segment(s).base; }
template <Seg s> bool write_base(Cpu& cpu, u32, u64 value) {
    if (!holds_linear_address(cpu, value)) return false;
    cpu.segment(s).base = value;
    cpu.ea_base[static_cast<unsigned>(s)] = value;
    return true;
}

constexpr u64 low_half = 0xFFFFFFFF;

constexpr MsrRow rows[] = {
    {.index = 0x10, .name = "ia32_time_stamp_counter", .needs = Feature::tsc, .read = read_tsc,
     .write = write_tsc},
    {.index = 0x17, .name = "ia32_platform_id", .read = read_zero},
    {.index = 0x1B, .name = "ia32_apic_base", .needs = Feature::apic, .read = read_apic, .write = write_apic},
    {.index = 0x3B, .name = "ia32_tsc_adjust", .needs = Feature::tsc_adjust, .member = &CpuState::tsc_adjust,
     .write = write_tsc_adjust},
    {.index = 0x48, .name = "ia32_spec_ctrl", .needs = Feature::ibrs_ibpb, .member = &CpuState::spec_ctrl,
     .write = write_spec_ctrl},
    {.index = 0x49, .name = "ia32_pred_cmd", .needs = Feature::ibrs_ibpb, .write = command_bit0},
    {.index = 0x79, .name = "ia32_bios_updt_trig", .write = ignore_write},
    {.index = 0x8B, .name = "ia32_bios_sign_id", .read = read_bios_sign, .write = write_bios_sign},
    {.index = 0xE1, .name = "ia32_umwait_control", .needs = Feature::waitpkg, .read = read_protection_msr,
     .write = write_protection_msr},
    {.index = 0xFE, .name = "ia32_mtrrcap", .needs = Feature::mtrr, .read = read_mtrr_cap},
    {.index = 0x10A, .name = "ia32_arch_capabilities", .needs = Feature::arch_capabilities,
     .read = read_arch_capabilities},
    {.index = 0x10B, .name = "ia32_flush_cmd", .needs = Feature::l1d_flush, .write = command_bit0},
    {.index = 0x174, .name = "ia32_sysenter_cs", .needs = Feature::sep, .member = &CpuState::sysenter_cs,
     .write = write_low_half<&CpuState::sysenter_cs>},
    {.index = 0x175, .name = "ia32_sysenter_esp", .needs = Feature::sep, .member = &CpuState::sysenter_esp,
     .write = write_canonical<&CpuState::sysenter_esp>},
    {.index = 0x176, .name = "ia32_sysenter_eip", .needs = Feature::sep, .member = &CpuState::sysenter_eip,
     .write = write_canonical<&CpuState::sysenter_eip>},
    {.index = 0x179, .name = "ia32_mcg_cap", .needs = Feature::mca, .read = read_mcg_cap},
    {.index = 0x17A, .name = "ia32_mcg_status", .needs = Feature::mca, .read = read_mcg_status,
     .write = write_mcg_status},
    {.index = 0x1A0, .name = "ia32_misc_enable", .member = &CpuState::misc_enable,
     .write = write_misc_enable},
    {.index = 0x1C4, .name = "ia32_xfd", .needs = Feature::xfd, .read = read_xfd<&AmxState::xfd>,
     .write = write_xfd<&AmxState::xfd>},
    {.index = 0x1C5, .name = "ia32_xfd_err", .needs = Feature::xfd, .read = read_xfd<&AmxState::xfd_err>,
     .write = write_xfd<&AmxState::xfd_err>},
    {.index = 0x1CC, .name = "ia32_fred_rsp_stklvls_ssp_config", .needs = Feature::fred, .count = 9, .read = read_protection_msr,
     .write = write_protection_msr},
    {.index = 0x1D9, .name = "ia32_debugctl", .member = &CpuState::debugctl,
     .write = write_debugctl},
    {.index = mtrr_variable_first, .name = "ia32_mtrr_physbase_physmask", .needs = Feature::mtrr,
     .count = 2 * variable_ranges, .read = read_mtrr_variable, .write = write_mtrr_variable},
    {.index = 0x250, .name = "ia32_mtrr_fix64k", .needs = Feature::mtrr, .read = read_mtrr_fixed,
     .write = write_mtrr_fixed},
    {.index = 0x258, .name = "ia32_mtrr_fix16k", .needs = Feature::mtrr, .count = 2, .read = read_mtrr_fixed,
     .write = write_mtrr_fixed},
    {.index = 0x268, .name = "ia32_mtrr_fix4k", .needs = Feature::mtrr, .count = 8, .read = read_mtrr_fixed,
     .write = write_mtrr_fixed},
    {.index = 0x277, .name = "ia32_pat", .needs = Feature::pat, .member = &CpuState::pat, .write = write_pat},
    {.index = 0x280, .name = "ia32_mc_ctl2", .needs = Feature::mca, .count = machine_check_banks,
     .read = read_mc_ctl2, .write = write_mc_ctl2},
    {.index = 0x2FF, .name = "ia32_mtrr_def_type", .needs = Feature::mtrr, .read = read_mtrr_default,
     .write = write_mtrr_default},
    {.index = mc_first, .name = "ia32_mc_ctl_status_addr_misc", .needs = Feature::mca,
     .count = 4 * machine_check_banks, .read = read_mc, .write = write_mc},
    {.index = 0x6A0, .name = "ia32_u_cet", .needs = Feature::base, .read = read_protection_msr,
     .write = write_protection_msr},
    {.index = 0x6A2, .name = "ia32_s_cet", .needs = Feature::base, .read = read_protection_msr,
     .write = write_protection_msr},
    {.index = 0x6A4, .name = "ia32_pl0_ssp", .needs = Feature::base, .read = read_protection_msr,
     .write = write_protection_msr},
    {.index = 0x6A5, .name = "ia32_pl1_ssp_interrupt_ssp_table", .needs = Feature::cet_ss, .count = 4, .read = read_protection_msr,
     .write = write_protection_msr},
    {.index = 0x6E0, .name = "ia32_tsc_deadline", .needs = Feature::tsc_deadline, .read = read_apic,
     .write = write_apic},
    {.index = 0x6E1, .name = "ia32_pkrs", .needs = Feature::pks, .read = read_protection_msr,
     .write = write_protection_msr},
    {.index = 0x800, .name = "ia32_x2apic", .needs = Feature::x2apic, .count = 0x100, .read = read_apic,
     .write = write_apic},
    {.index = 0x985, .name = "ia32_uintr", .needs = Feature::uintr, .count = 6, .read = read_protection_msr,
     .write = write_protection_msr},
    {.index = 0xDA0, .name = "ia32_xss", .needs = Feature::xsaves, .member = &CpuState::xss,
     .write = write_xss},
    {.index = 0xC0000080, .name = "ia32_efer", .needs = Feature::lm, .member = &CpuState::efer,
     .write = write_efer_row},
    {.index = 0xC0000081, .name = "ia32_star", .needs = Feature::syscall, .member = &CpuState::star,
     .writable = ~0ull},
    {.index = 0xC0000082, .name = "ia32_lstar", .needs = Feature::syscall, .member = &CpuState::lstar,
     .write = write_canonical<&CpuState::lstar>},
    {.index = 0xC0000083, .name = "ia32_cstar", .needs = Feature::syscall, .member = &CpuState::cstar,
     .write = write_canonical<&CpuState::cstar>},
    {.index = 0xC0000084, .name = "ia32_fmask", .needs = Feature::syscall, .member = &CpuState::fmask,
     .writable = low_half},
    {.index = 0xC0000100, .name = "ia32_fs_base", .needs = Feature::lm, .read = read_base<Seg::fs>,
     .write = write_base<Seg::fs>},
    {.index = 0xC0000101, .name = "ia32_gs_base", .needs = Feature::lm, .read = read_base<Seg::gs>,
     .write = write_base<Seg::gs>},
    {.index = 0xC0000102, .name = "ia32_kernel_gs_base", .needs = Feature::lm,
     .member = &CpuState::kernel_gs_base,
     .write = write_canonical<&CpuState::kernel_gs_base>},
    {.index = 0xC0000103, .name = "ia32_tsc_aux", .needs = Feature::rdtscp, .member = &CpuState::tsc_aux,
     .writable = low_half},
};

constexpr bool strictly_ascending() {
    for (std::size_t i = 1; i < std::size(rows); ++i)
        if (rows[i - 1].index + rows[i - 1].count > rows[i].index) return false;
    return true;
}
static_assert(strictly_ascending(), "rows must be sorted and disjoint");
static_assert(std::tuple_size_v<decltype(MachineMsrs::mtrr_variable)> == 2 * variable_ranges);
static_assert(std::tuple_size_v<decltype(MachineMsrs::mc)> == 4 * machine_check_banks);
static_assert(fixed_slot(0x26F) == std::tuple_size_v<decltype(MachineMsrs::mtrr_fixed)> - 1);

}  // namespace

MsrRows cpu_msr_rows() { return rows; }

u64 valid_debugctl(const Cpu& cpu) {
    return debugctl_bits::lbr | debugctl_bits::btf |
           (cpu.has(Feature::bus_lock_detect) ? debugctl_bits::bus_lock : 0);
}

bool valid_spec_ctrl(const Cpu& cpu, u64 value) {
    u64 valid = 1;  // IBRS
    if (cpu.has(Feature::stibp)) valid |= 2;
    if (cpu.has(Feature::ssbd)) valid |= 4;
    return (value & ~valid) == 0;
}

bool valid_pat(u64 value) {
    // 0 UC, 1 WC, 4 WT, 5 WP, 6 WB, 7 UC-.
    for (unsigned i = 0; i < 8; ++i) {
        const u64 t = (value >> (8 * i)) & 0xFF;
        if (t > 7 || t == 2 || t == 3) return false;
    }
    return true;
}

bool write_efer(Cpu& cpu, u64 value) {
    if (value & ~(cpu.model.valid_efer | efer_bits::lma)) return false;
    if ((value & efer_bits::nxe) && (cpu.misc_enable & misc_enable_bits::xd_disable)) return false;
    const u64 changed = (value ^ cpu.efer) & ~efer_bits::lma;
    if ((changed & efer_bits::lme) && (cpu.cr0 & cr0_bits::pg)) return false;
    cpu.efer = (value & ~efer_bits::lma) | (cpu.efer & efer_bits::lma);
    if (changed & (efer_bits::lme | efer_bits::nxe)) cpu.context_changed();
    if (changed & efer_bits::nxe) cpu.mmu.flush_current(false);
    return true;
}

}  // namespace droste
