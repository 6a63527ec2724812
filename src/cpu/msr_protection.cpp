// SPDX-License-Identifier: Apache-2.0
// The rules by which these MSRs are written, and where they are kept.
#include "cpu/msr_protection.h"

#include "cpu/cet.h"
#include "cpu/segmentation.h"

namespace droste {

using namespace msr_index;

bool valid_cet_control(const Cpu& cpu, u64 v) {
    if ((v & cet_bits::reserved) ||
        (v & (cet_bits::suppress | cet_bits::tracker)) == (cet_bits::suppress | cet_bits::tracker))
        return false;
    if (!cpu.has(Feature::cet_ss) && (v & cet_bits::of_shadow_stacks))
        return false;
    if (!cpu.has(Feature::cet_ibt) && (v & cet_bits::of_tracking))
        return false;
    return holds_linear_address(cpu, v & cet_bits::bitmap_base);
}
bool valid_ssp(const Cpu& cpu, u64 v) {
    return holds_linear_address(cpu, v) && (v & 3) == 0;
}
bool valid_fred_config(const Cpu& cpu, u64 v) {
    constexpr u64 reserved = 1 << 2 | 3 << 4 | 1 << 11;
    return !(v & reserved) && holds_linear_address(cpu, v);
}
bool valid_fred_rsp(const Cpu& cpu, u64 v) {
    return holds_linear_address(cpu, v) && (v & 0x3F) == 0;
}
bool valid_fred_ssp(const Cpu& cpu, u64 v) {
    return holds_linear_address(cpu, v) && (v & 7) == 0;
}
bool valid_uintr_handler(const Cpu& cpu, u64 v) {
    return holds_linear_address(cpu, v);
}
bool valid_uintr_misc(u64 v) {
    return (v >> 40) == 0;
}
bool valid_uintr_pd(const Cpu& cpu, u64 v) {
    return holds_linear_address(cpu, v) && (v & 0x3F) == 0;
}
bool valid_uintr_tt(const Cpu& cpu, u64 v) {
    return holds_linear_address(cpu, v) && (v & 0xE) == 0;
}

namespace {

bool cet_there(const Cpu& cpu) {
    return cpu.has(Feature::cet_ss) || cpu.has(Feature::cet_ibt);
}

/// Where a register of 64 bits is kept, and what it accepts. Null: not one of these, or not enumerated.
struct Place {
    u64* at = nullptr;
    bool valid = false;
};
Place place(Cpu& cpu, u32 index, u64 v) {
    switch (index) {
    case u_cet:
        return cet_there(cpu) ? Place{&cpu.cet.u_cet, valid_cet_control(cpu, v)} : Place{};
    case s_cet:
        return cet_there(cpu) ? Place{&cpu.cet.s_cet, valid_cet_control(cpu, v)} : Place{};
    // FRED uses IA32_PL0_SSP for its level 0 whether or not there are shadow stacks.
    case pl0_ssp:
        return cpu.has(Feature::cet_ss) || cpu.has(Feature::fred)
                   ? Place{&cpu.cet.pl_ssp[0], valid_ssp(cpu, v)}
                   : Place{};
    case pl0_ssp + 1:
    case pl0_ssp + 2:
    case pl0_ssp + 3:
        return {&cpu.cet.pl_ssp[index - pl0_ssp], valid_ssp(cpu, v)};
    case interrupt_ssp_table:
        return {&cpu.cet.ssp_table, holds_linear_address(cpu, v)};
    case fred_rsp0:
    case fred_rsp0 + 1:
    case fred_rsp0 + 2:
    case fred_rsp0 + 3:
        return {&cpu.fred.rsp[index - fred_rsp0], valid_fred_rsp(cpu, v)};
    case fred_stack_levels:
        return {&cpu.fred.stack_levels, true};
    case fred_ssp1:
    case fred_ssp1 + 1:
    case fred_ssp1 + 2:
        return {&cpu.fred.ssp[index - fred_ssp1 + 1], valid_fred_ssp(cpu, v)};
    case fred_config:
        return {&cpu.fred.config, valid_fred_config(cpu, v)};
    case uintr_rr:
        return {&cpu.uintr.rr, true};
    case uintr_handler:
        return {&cpu.uintr.handler, valid_uintr_handler(cpu, v)};
    case uintr_stack_adjust:
        return {&cpu.uintr.stack_adjust, valid_uintr_handler(cpu, v)};
    case uintr_misc:
        return {&cpu.uintr.misc, valid_uintr_misc(v)};
    case uintr_pd:
        return {&cpu.uintr.pd, valid_uintr_pd(cpu, v)};
    case uintr_tt:
        return {&cpu.uintr.tt, valid_uintr_tt(cpu, v)};
    default:
        return {};
    }
}

}  // namespace

std::optional<u64> read_protection_msr(Cpu& cpu, u32 index) {
    if (index == pkrs)
        return cpu.pkrs;
    if (index == umwait_control)
        return cpu.umwait_control;
    const u64* at = place(cpu, index, 0).at;
    return at == nullptr ? std::nullopt : std::optional<u64>(*at);
}

bool write_protection_msr(Cpu& cpu, u32 index, u64 value) {
    if (index == pkrs || index == umwait_control) {
        if (value >> 32 || (index == umwait_control && (value & 2)))
            return false;
        if (index == pkrs)
            set_pkrs(cpu, static_cast<u32>(value));
        else
            cpu.umwait_control = static_cast<u32>(value);
        return true;
    }
    const Place p = place(cpu, index, value);
    if (p.at == nullptr || !p.valid)
        return false;
    *p.at = value;
    cpu.segments_changed();  // enforcement, or a pending user interrupt
    return true;
}

}  // namespace droste
