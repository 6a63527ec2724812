// SPDX-License-Identifier: Apache-2.0
// Walks MSR areas: 16-byte entries of index, reserved bits and data.
#include "vmx/msr_area.h"

#include "cpu/msr.h"

namespace droste {

namespace {

// SDM "Miscellaneous Data": IA32_VMX_MISC[27:25] is 0, so lists of more than 512 entries are not supported;
// what then happens is undefined. Droste takes the 513th entry as illegal.
constexpr u64 longest_area = 512;

constexpr u32 fs_base = 0xC0000100, gs_base = 0xC0000101;

struct Entry {
    u32 index;
    u32 reserved;
    u64 data;
};

Entry read_entry(const Cpu& cpu, u64 at) {
    const u64 head = cpu.memory.read64(at);
    return {static_cast<u32>(head), static_cast<u32>(head >> 32), cpu.memory.read64(at + 8)};
}

/// Not allowed in either kind of area.
bool forbidden(const Cpu& cpu, const Entry& e) {
    const bool x2apic_range = (e.index >> 8) == 8;
    return e.reserved != 0 || (x2apic_range && !cpu.interrupts.mmio_page());
}

}  // namespace

bool store_msrs(Cpu& cpu, u64 address, u64 count) {
    for (u64 i = 0; i < count; ++i, address += 16) {
        if (i == longest_area) return false;
        const Entry e = read_entry(cpu, address);
        if (forbidden(cpu, e) || cpu.msrs == nullptr) return false;
        const auto value = cpu.msrs->read(cpu, e.index);
        if (!value) return false;
        cpu.memory.write64(address + 8, *value);
        cpu.charge(CostEvent::msr_list_entry);
    }
    return true;
}

u64 load_msrs(Cpu& cpu, u64 address, u64 count) {
    for (u64 i = 0; i < count; ++i, address += 16) {
        if (i == longest_area) return i + 1;
        const Entry e = read_entry(cpu, address);
        if (forbidden(cpu, e) || e.index == fs_base || e.index == gs_base || cpu.msrs == nullptr)
            return i + 1;
        if (!cpu.msrs->write(cpu, e.index, e.data)) return i + 1;
        cpu.charge(CostEvent::msr_list_entry);
    }
    return 0;
}

}  // namespace droste
