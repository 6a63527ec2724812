// SPDX-License-Identifier: Apache-2.0
// Control registers: what a write must satisfy and what it changes in paging, modes and cached translations.
#include "cpu/control_registers.h"

#include "cpu/descriptors.h"
#include "cpu/segmentation.h"

namespace droste {

namespace {

bool gp0(Cpu& cpu) { return refuse(cpu, Vector::gp, 0); }

bool pae_paging(u64 cr0, u64 cr4, u64 efer) {
    return (cr0 & cr0_bits::pg) && (cr4 & cr4_bits::pae) && !(efer & efer_bits::lme);
}

}  // namespace

bool load_pdptes(Cpu& cpu, u64 cr3) {
    const u64 table = cr3 & 0xFFFFFFE0;
    u64 machine = table;
    if (cpu.ept_enabled) {
        WalkFault fault;
        if (!cpu.mmu.translate_guest_physical(GuestPhys(table), Access::read, machine, fault)) {
            cpu.memory_fault = fault;
            cpu.pending_memory_exit = true;
            return false;
        }
    }
    const u64 reserved = 0x1E6 | (~0ull << cpu.model.maxphyaddr);
    std::array<u64, 4> entries{};
    for (unsigned i = 0; i < 4; ++i) {
        entries[i] = cpu.memory.read64(machine + 8 * i);
        if ((entries[i] & 1) && (entries[i] & reserved)) return gp0(cpu);
    }
    cpu.pdpte = entries;
    return true;
}

bool set_cr0(Cpu& cpu, u64 value) {
    using namespace cr0_bits;
    if (value >> 32) return gp0(cpu);
    constexpr u64 known = pe | mp | em | ts | et | ne | wp | am | nw | cd | pg;
    value = (value & known) | et;
    const u64 before = cpu.cr0;
    const u64 changed = before ^ value;
    if ((value & pg) && !(value & pe)) return gp0(cpu);
    if ((value & nw) && !(value & cd)) return gp0(cpu);
    if ((cpu.cr4 & cr4_bits::cet) && !(value & wp)) return gp0(cpu);
    if ((value & cpu.cr0_fixed0) != cpu.cr0_fixed0 || (value & ~cpu.cr0_fixed1)) return gp0(cpu);
    u64 efer = cpu.efer;
    if (changed & pg) {
        if (value & pg) {
            if (efer & efer_bits::lme) {
                const Segment& tr = cpu.segment(Seg::tr);
                const bool tss16 = !tr.unusable() && (tr.type() == 1 || tr.type() == 3);
                if (!(cpu.cr4 & cr4_bits::pae) || cpu.segment(Seg::cs).l() || tss16) return gp0(cpu);
                efer |= efer_bits::lma;
            }
        } else {
            if (cpu.code64() || (cpu.cr4 & cr4_bits::pcide)) return gp0(cpu);
            efer &= ~efer_bits::lma;
        }
    }
    if ((changed & (cd | nw | pg)) && pae_paging(value, cpu.cr4, efer) && !load_pdptes(cpu, cpu.cr3))
        return false;
    cpu.cr0 = value;
    cpu.efer = efer;
    if (changed & pe) {
        // Entering protected mode leaves CPL 0 and the segments as real mode had them.
        cpu.cpl = 0;
    }
    if (changed & (pe | pg | wp | am)) cpu.context_changed();
    if (changed & pg) cpu.mmu.flush_current(false);
    return true;
}

bool set_cr3(Cpu& cpu, u64 value) {
    const bool pcide = cpu.cr4 & cr4_bits::pcide;
    const bool keep = pcide && bit(value, 63);
    if (pcide) value &= ~(1ull << 63);
    const u64 lam = cpu.has(Feature::lam) ? cr3_bits::lam_u57 | cr3_bits::lam_u48 : 0;
    if (cpu.long_mode() && ((value & ~lam) >> cpu.model.maxphyaddr)) return gp0(cpu);
    if (pae_paging(cpu.cr0, cpu.cr4, cpu.efer) && !load_pdptes(cpu, value)) return false;
    cpu.cr3 = value;
    cpu.paging_changed();
    if (!pcide) cpu.mmu.flush_current(true);
    else if (!keep) cpu.mmu.flush_pcid(static_cast<u16>(value & 0xFFF));
    return true;
}

bool set_cr4(Cpu& cpu, u64 value) {
    using namespace cr4_bits;
    const u64 before = cpu.cr4;
    const u64 changed = before ^ value;
    if (value & ~cpu.model.valid_cr4) return gp0(cpu);
    if (cpu.long_mode()) {
        if (!(value & pae) || (changed & la57)) return gp0(cpu);
    } else if (value & ~before & pcide) {
        return gp0(cpu);
    }
    if ((value & ~before & pcide) && (cpu.cr3 & 0xFFF)) return gp0(cpu);
    if ((value & cet) && !(cpu.cr0 & cr0_bits::wp)) return gp0(cpu);
    if ((value & cpu.cr4_fixed0) != cpu.cr4_fixed0 || (value & ~cpu.cr4_fixed1)) return gp0(cpu);
    const u64 reload = changed & (pae | pse | pge | smep);
    if (reload && pae_paging(cpu.cr0, value, cpu.efer) && !load_pdptes(cpu, cpu.cr3)) return false;
    cpu.cr4 = value;
    cpu.context_changed();
    // SDM "Operations that Invalidate TLBs and Paging-Structure Caches".
    if ((changed & (pge | pae | pse)) || (before & ~value & pcide)) cpu.mmu.flush_current(false);
    else if ((value & ~before & smep) || (changed & (smap | pke | pks | cet))) cpu.mmu.flush_current(false);
    return true;
}

bool set_cr8(Cpu& cpu, u64 value) {
    if (value >> 4) return gp0(cpu);
    cpu.interrupts.set_cr8(static_cast<u8>(value));
    cpu.set_attention();
    return true;
}

bool set_xcr0(Cpu& cpu, u64 value) {
    constexpr u64 x87 = 1, sse = 2, avx = 4, avx512 = 0xE0, amx = 0x60000;
    if ((value & ~cpu.model.valid_xcr0) || !(value & x87) || ((value & avx) && !(value & sse)))
        return gp0(cpu);
    if ((value & avx512) && ((value & avx512) != avx512 || !(value & avx))) return gp0(cpu);
    if ((value & amx) && (value & amx) != amx) return gp0(cpu);
    cpu.xcr0 = value;
    cpu.context_changed();
    return true;
}

}  // namespace droste
