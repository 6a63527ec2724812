// SPDX-License-Identifier: Apache-2.0
// SystemMachine: a TestMachine with a wide GDT, a TSS for each level, and what tests of system instructions
// compare.
#pragma once
#include <gtest/gtest.h>

#include <ostream>

#include "cpu/descriptors.h"
#include "cpu/msr.h"
#include "test_machine.h"

namespace droste::test {

/// A fault as tests compare it; -1: none.
struct Raised {
    int vector = -1;
    i64 code = -1;  ///< -1: no error code
    friend bool operator==(const Raised&, const Raised&) = default;
    friend std::ostream& operator<<(std::ostream& o, const Raised& r) {
        return r.vector < 0 ? o << "no fault" : o << "vector " << r.vector << " code " << std::hex << r.code;
    }
};
constexpr Raised none{};
constexpr Raised ud{6, -1}, nm{7, -1}, gp0{13, 0};
constexpr Raised gp(u32 code) { return {13, code}; }
constexpr Raised np(u32 code) { return {11, code}; }
constexpr Raised ss(u32 code) { return {12, code}; }
constexpr Raised ts(u32 code) { return {10, code}; }

/// `access` in the layout of Segment::access; the limit is taken in the granularity that access bit 15 says.
constexpr u64 descriptor(u32 base, u32 limit, u32 access) {
    return (limit & 0xFFFF) | (u64(base & 0xFFFFFF) << 16) | (u64(access & 0xFF) << 40) |
           (u64(limit >> 16 & 0xF) << 48) | (u64(access >> 12 & 0xF) << 52) | (u64(base >> 24) << 56);
}
/// Call, interrupt and trap gates: `type` with P and DPL, as bits 47:40.
constexpr u64 gate(u16 selector, u32 offset, u8 type, u8 parameters = 0) {
    return (offset & 0xFFFF) | (u64(selector) << 16) | (u64(parameters) << 32) | (u64(type) << 40) |
           (u64(offset >> 16) << 48);
}

class SystemMachine : public TestMachine {
public:
    static constexpr u64 wide_gdt = 0x10000;
    static constexpr u64 tss = 0x12000;
    static constexpr u64 kernel_stack = 0x6000;
    static constexpr u64 ist_stack = 0x5000;
    static constexpr u16 tss_selector = 0x40;       ///< slots 8 and 9
    static constexpr u16 free_selector = 0x80;      ///< slot 16: for the test
    static constexpr u16 free_index = 16;

    explicit SystemMachine(Mode mode = Mode::long64, u8 cpl = 0, const CpuModel& m = all_features_model())
        : TestMachine(mode, cpl, m), table({cpu_msr_rows()}) {
        for (unsigned i = 0; i < 5; ++i) poke<u64>(wide_gdt + 8 * i, peek<u64>(gdt + 8 * i));
        cpu.gdtr = {wide_gdt, 0xFFF};
        cpu.msrs = &table;
        const bool is64 = mode == Mode::long64;
        put(8, descriptor(tss, 0x2067, 0x8B));
        put(9, 0);
        cpu.segment(Seg::tr) = {tss_selector, 0x2067, 0x8B, tss};
        if (is64) {
            poke<u64>(tss + 4, kernel_stack);
            poke<u64>(tss + 36, ist_stack);  // IST1
        } else {
            poke<u32>(tss + 4, kernel_stack);
            poke<u16>(tss + 8, data_selector);
        }
        poke<u16>(tss + 0x66, 0x68);  // I/O map: all permitted until the test writes it
    }

    void put(unsigned index, u64 d) { poke<u64>(wide_gdt + 8 * index, d); }
    u64 got(unsigned index) const { return peek<u64>(wide_gdt + 8 * index); }

    /// Executes one instruction and tells the fault it raised.
    Raised fault_of(std::span<const u8> bytes) {
        const Outcome o = execute(bytes);
        if (o != Outcome::fault) return none;
        const Fault f = cpu.pending_fault;
        cpu.pending_fault = {};
        return {static_cast<int>(f.vector()), f.has_code() ? static_cast<i64>(f.code()) : -1};
    }
    Raised fault_of(std::initializer_list<u8> bytes) {
        return fault_of(std::span(bytes.begin(), bytes.size()));
    }

    /// Sets DPL-3 gates for `vector` (the stops of install_exception_stops() have DPL 0).
    void open_gate(u8 vector) {
        const u64 at = cpu.long_mode() ? idt + 16 * vector : idt + 8 * vector;
        poke<u64>(at, peek<u64>(at) | 0x60ull << 40);
    }
    template <class T> T pushed(unsigned slot) const { return peek<T>(cpu.gpr[4] + slot * sizeof(T)); }

    MsrTable table;
};

}  // namespace droste::test
