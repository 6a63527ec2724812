// SPDX-License-Identifier: Apache-2.0
// What images hold, and how the hidden part of a VMCS region keeps a suspended run.
#include "vmx/guest_image.h"

namespace droste {

namespace {

constexpr u64 present_bit = 1ull << 63;

}  // namespace

void HiddenState::save(const SuspendedRun& run) const {
    save(running, run.image);
    const Vectoring& v = run.vectoring;
    set(vectoring, (v.active ? present_bit : 0) | v.vector | u64{v.type} << 8 | u64{v.has_code} << 16 |
                       u64{v.nested} << 17 | u64{v.has_data} << 18 | u64{v.injected} << 19 |
                       u64{v.instruction_length} << 32);
    set(vectoring_code, v.code);
    set(vectoring_data, v.data);
    set(pending_exit, run.pending_exit);
    set(pending_exit_qualification, run.pending_exit_qualification);
    set(monitor_trap, run.monitor_trap);
}

void HiddenState::load(SuspendedRun& run) const {
    load(running, run.image);
    const u64 word = get(vectoring);
    Vectoring& v = run.vectoring;
    v.active = word & present_bit;
    v.vector = static_cast<u8>(word);
    v.type = static_cast<u8>((word >> 8) & 7);
    v.has_code = bit(word, 16);
    v.nested = bit(word, 17);
    v.has_data = bit(word, 18);
    v.injected = bit(word, 19);
    v.instruction_length = static_cast<u32>((word >> 32) & 0xF);
    v.code = static_cast<u32>(get(vectoring_code));
    v.data = get(vectoring_data);
    run.pending_exit = get(pending_exit);
    run.pending_exit_qualification = get(pending_exit_qualification);
    run.monitor_trap = get(monitor_trap);
}

Controls full_controls(const VmxCapabilities& caps) {
    Controls c;
    const auto add = [&](Capability x) { c[x.word] |= x.mask(); };
    for (const Capability x : {"enable_ept"_vmx, "save_debug_controls"_vmx, "save_ia32_pat"_vmx, "save_ia32_efer"_vmx,
                               "load_debug_controls"_vmx, "entry_load_ia32_pat"_vmx, "entry_load_ia32_efer"_vmx})
        add(x);
    for (const Capability x : {"load_ia32_bndcfgs"_vmx, "entry_load_cet_state"_vmx, "entry_load_pkrs"_vmx,
                               "load_uinv"_vmx, "entry_load_ia32_fred"_vmx, "entry_load_ia32_spec_ctrl"_vmx})
        if (caps.has(x)) add(x);
    if (caps.has("save_ia32_fred"_vmx)) add("save_ia32_fred"_vmx);
    return c;
}

bool saved_by_exit(Field f, const Controls& c, const VmxCapabilities& caps, const Cpu& cpu) {
    struct Conditional {
        Field first;
        unsigned count;
        Capability control;
    };
    constexpr Conditional by_control[] = {
        {"guest_dr7"_f, 1, "save_debug_controls"_vmx},      {"guest_ia32_debugctl"_f, 1, "save_debug_controls"_vmx},
        {"guest_ia32_pat"_f, 1, "save_ia32_pat"_vmx},       {"guest_ia32_efer"_f, 1, "save_ia32_efer"_vmx},
        {"guest_ia32_fred_config"_f, 8, "save_ia32_fred"_vmx}};
    constexpr Conditional by_capability[] = {{"guest_ia32_bndcfgs"_f, 1, "load_ia32_bndcfgs"_vmx},
                                             {"guest_ia32_s_cet"_f, 3, "entry_load_cet_state"_vmx},
                                             {"guest_ia32_pkrs"_f, 1, "entry_load_pkrs"_vmx},
                                             {"guest_uinv"_f, 1, "load_uinv"_vmx},
                                             {"guest_ia32_spec_ctrl"_f, 1, "entry_load_ia32_spec_ctrl"_vmx}};
    const auto within = [&](const Conditional& x) { return f.row >= x.first.row && f.row < x.first.row + x.count; };
    for (const Conditional& x : by_control)
        if (within(x)) return c.has(x.control);
    for (const Conditional& x : by_capability)
        if (within(x)) return caps.has(x.control);
    if (within({"guest_pdpte0"_f, 4, {}})) {
        const bool pae = (cpu.cr0 & cr0_bits::pg) && (cpu.cr4 & cr4_bits::pae) && !(cpu.efer & efer_bits::lma);
        return c.has("enable_ept"_vmx) && pae;
    }
    // These have no place in processors yet, and stay what software wrote.
    for (const Field x : {"guest_ia32_perf_global_ctrl"_f, "guest_ia32_rtit_ctl"_f, "guest_ia32_lbr_ctl"_f})
        if (x == f) return false;
    return true;
}

}  // namespace droste
