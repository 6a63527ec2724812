// SPDX-License-Identifier: Apache-2.0
// Walks MSR areas: 16-byte entries of index, reserved bits and data.
#include "vmx/msr_area.h"

#include "cpu/msr.h"

namespace droste {

namespace {

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

std::optional<u64> read_listed_msr(Cpu& cpu, u64 address) {
    const Entry e = read_entry(cpu, address);
    if (forbidden(cpu, e) || cpu.msrs == nullptr) return std::nullopt;
    return cpu.msrs->read(cpu, e.index);
}

bool write_listed_msr(Cpu& cpu, u64 address) {
    const Entry e = read_entry(cpu, address);
    if (forbidden(cpu, e) || e.index == fs_base || e.index == gs_base || cpu.msrs == nullptr) return false;
    return cpu.msrs->write(cpu, e.index, e.data);
}

bool store_msrs(Cpu& cpu, u64 address, u64 count) {
    for (u64 i = 0; i < count; ++i, address += 16) {
        if (i == longest_msr_area) return false;
        const auto value = read_listed_msr(cpu, address);
        if (!value) return false;
        cpu.memory.write64(address + 8, *value);
        cpu.charge(CostEvent::msr_list_entry);
    }
    return true;
}

u64 load_msrs(Cpu& cpu, u64 address, u64 count) {
    for (u64 i = 0; i < count; ++i, address += 16) {
        if (i == longest_msr_area) return i + 1;
        if (!write_listed_msr(cpu, address)) return i + 1;
        cpu.charge(CostEvent::msr_list_entry);
    }
    return 0;
}

}  // namespace droste
