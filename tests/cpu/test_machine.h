// SPDX-License-Identifier: Apache-2.0
// TestMachine: a Cpu with RAM, buses and page tables, ready to execute instructions in a chosen mode.
//
//   TestMachine m(TestMachine::Mode::long64);
//   m.cpu.reg(Gpr::rax) = 5;
//   m.execute({0x48, 0xFF, 0xC0});                     // inc rax
//   EXPECT_EQ(m.cpu.reg(Gpr::rax), 6u);
#pragma once
#include <initializer_list>
#include <span>
#include <vector>

#include "cpu/cpu.h"
#include "cpu/decode/decoder.h"
#include "cpu/decode/lower.h"
#include "cpu/thunk/thunk.h"

namespace droste::test {

class FakeInterruptController final : public InterruptController {
public:
    bool interrupt_pending() const override { return !vectors.empty(); }
    u8 acknowledge() override {
        const u8 v = vectors.front();
        vectors.erase(vectors.begin());
        return v;
    }
    u8 cr8() const override { return tpr; }
    void set_cr8(u8 value) override { tpr = value; }
    std::optional<u64> read_msr(u32 index) override {
        return index == 0x1B ? std::optional<u64>(0xFEE00900) : std::nullopt;
    }
    bool write_msr(u32 index, u64 value) override {
        if (x2apic) msr_writes.emplace_back(index, value);
        return x2apic;
    }
    void raise(u8 vector) override { vectors.push_back(vector); }
    std::optional<MachinePhys> mmio_page() const override { return page; }

    void send_user_notification(u32 destination, u8 vector) override { notifications.emplace_back(destination, vector); }

    std::vector<u8> vectors;
    std::vector<std::pair<u32, u8>> notifications;
    u8 tpr = 0;
    bool x2apic = false;  ///< takes MSR writes and notes them
    std::vector<std::pair<u32, u64>> msr_writes;
    std::optional<MachinePhys> page;
};

/// Every feature that has a name, as a model.
inline CpuModel all_features_model() {
    CpuModel m;
    m.name = "test";
    for (std::size_t i = 1; i < feature_count; ++i) m.features.set(static_cast<Feature>(i));
    m.features.set(Feature::la57, false);
    m.valid_cr4 = 0x1FFFFFFFF;
    m.valid_xcr0 = 7;
    m.valid_xss = 0x5800;
    m.valid_efer = 0xD01;
    return m;
}

class TestMachine {
public:
    enum class Mode : u8 { real16, protected16, protected32, long64 };

    static constexpr u64 ram_bytes = 64ull << 20;
    static constexpr u64 tables = 0x100000;          ///< PML4, then the other paging structures
    static constexpr u64 tables_end = 0x180000;
    static constexpr u64 idt = 0x8000;               ///< of install_exception_stops()
    static constexpr u64 gdt = 0x9000;
    static constexpr u64 stops = 0xA000;             ///< vector v stops at stops + 16 * v with HLT executed
    static constexpr u64 code = 0x2000;  ///< where run() puts its bytes; reached in 16-bit modes too
    static constexpr u64 data = 0x4000;
    static constexpr u64 stack_top = 0x7FF0;
    static constexpr u16 code_selector = 0x08, data_selector = 0x10, user_code_selector = 0x1B,
                         user_data_selector = 0x23;

    /// All RAM is mapped at its physical address (writable, accessible to users). Interrupts are disabled.
    /// `more_rows`: instruction tables of other folders.
    explicit TestMachine(Mode mode = Mode::long64, u8 cpl = 0,
                         const CpuModel& cpu_model = all_features_model(),
                         const std::vector<RowSpan>& more_rows = {})
        : row_tables(joined(cpu_instruction_tables(), more_rows)), isa(row_tables), model(cpu_model),
          memory(ram_bytes, mmio), cpu({memory, ports, interrupts, events, isa, model}) {
        enter(mode, cpl);
    }

    /// Adds the mapping of one 4-KByte page.
    void map(u64 linear, u64 physical, u64 flags = 7 /* present, writable, user */) {
        u64 table = tables;
        for (unsigned level = 3; level > 0; --level) {
            const u64 at = table + 8 * ((linear >> (12 + 9 * level)) & 511);
            u64 entry = memory.read64(at);
            if (!(entry & 1)) {
                ASSERT(next_table_ < tables_end);
                entry = next_table_ | 7;
                next_table_ += 0x1000;
                memory.write64(at, entry);
            }
            ASSERT(!(entry & 0x80));
            table = entry & 0xF'FFFF'FFFF'F000;
        }
        memory.write64(table + 8 * ((linear >> 12) & 511), physical | flags);
        cpu.mmu.flush_all();
    }

    /// Takes the identity mapping away.
    void unmap_all() {
        for (u64 i = 0; i < 512; ++i) memory.write64(tables + 8 * i, 0);
        cpu.mmu.flush_all();
    }

    void write(u64 physical, std::span<const u8> bytes) {
        memory.write_block(physical, bytes.data(), bytes.size());
    }
    void write(u64 physical, std::initializer_list<u8> bytes) {
        write(physical, std::span(bytes.begin(), bytes.size()));
    }
    template <class T> void poke(u64 physical, T v) { memory.write_block(physical, &v, sizeof v); }
    template <class T> T peek(u64 physical) const {
        T v;
        memory.read_block(physical, &v, sizeof v);
        return v;
    }

    /// Executes one instruction by decoder and body, without the run loop: RIP stays on faults,
    /// `pending_fault` tells. REP chunks are repeated to the end.
    Outcome execute(std::span<const u8> bytes) {
        Decoded d;
        std::array<u8, max_insn_bytes> padded{};
        std::copy_n(bytes.begin(), std::min<std::size_t>(bytes.size(), max_insn_bytes), padded.begin());
        cpu.pending_fault = {};
        if (isa.decode(padded, cpu.mode, d, &model.features) != DecodeStatus::ok || !model.features.has(d.row->needs))
            return cpu.ud();
        return execute(d);
    }
    Outcome execute(std::initializer_list<u8> bytes) {
        return execute(std::span(bytes.begin(), bytes.size()));
    }
    Outcome execute(const Decoded& d) {
        cpu.pending_fault = {};
        Insn in;
        const Body body = prepare(d, in);
        if (body == nullptr) return cpu.ud();
        Outcome outcome;
        do {
            cpu.gpr[slot_rip] = cpu.rip;
            outcome = body(cpu, in);
        } while (outcome == Outcome::again);
        if (outcome == Outcome::next) cpu.rip = cpu.next_rip(in);
        return outcome;
    }

    /// Lowers a decoded instruction and gives its body.
    Body prepare(const Decoded& d, Insn& in) {
        lower(d, cpu.mode, 0, in);
        if (!(d.row->traits & traits::host_thunk)) return d.row->run.by[in.mem()][in.osz()].body;
        if (!thunk_cache_) thunk_cache_ = std::make_unique<ThunkCache>();
        if (thunk_cache_->full()) thunk_cache_->reset();
        in.thunk = thunk_cache_->call_for(d, cpu.mode);
        return in.thunk->code.body;
    }

    /// Puts `bytes` and a HLT at `code` and runs there until a halt, at most `ticks` instructions.
    Stop run(std::span<const u8> bytes, u64 ticks = 100000) {
        write(code, bytes);
        poke<u8>(code + bytes.size(), 0xF4);
        cpu.rip = code;
        cpu.activity = Activity::active;
        return run_for(ticks);
    }
    Stop run(std::initializer_list<u8> bytes, u64 ticks = 100000) {
        return run(std::span(bytes.begin(), bytes.size()), ticks);
    }
    /// Goes on from the present state.
    Stop run_for(u64 ticks) {
        deadline_.at = cpu.now() + ticks;
        events.schedule(deadline_, deadline_.at);
        const Stop stop = cpu.run();
        events.cancel(deadline_);
        return stop;
    }

    /// An IDT (long64 and protected32) whose every vector ends in a HLT of its own; stopped_at() tells which.
    void install_exception_stops() {
        const bool is64 = cpu.long_mode();
        for (unsigned v = 0; v < 256; ++v) {
            const u64 at = stops + 16 * v;
            poke<u8>(at, 0xF4);
            const u64 low =
                (at & 0xFFFF) | (u64(code_selector) << 16) | (0x8Eull << 40) | ((at >> 16 & 0xFFFF) << 48);
            if (is64) {
                poke<u64>(idt + 16 * v, low);
                poke<u64>(idt + 16 * v + 8, at >> 32);
            } else {
                poke<u64>(idt + 8 * v, low);
            }
        }
        cpu.idtr = {idt, is64 ? 0xFFFu : 0x7FFu};
    }
    /// The vector whose stop executed its HLT, or -1.
    int stopped_at() const {
        const u64 at = cpu.rip - 1 - stops;
        return at < 16 * 256 && at % 16 == 0 ? static_cast<int>(at / 16) : -1;
    }

    std::vector<RowSpan> row_tables;
    Isa isa;
    CpuModel model;
    MemoryBus mmio;
    PortBus ports;
    FakeInterruptController interrupts;
    EventQueue events;
    PhysicalMemory memory;
    Cpu cpu;

private:
    struct Deadline final : Event {
        void fire(Time) override {}
        Time at = 0;
    };

    static std::vector<RowSpan> joined(std::vector<RowSpan> tables, const std::vector<RowSpan>& more) {
        tables.insert(tables.end(), more.begin(), more.end());
        return tables;
    }
    static Segment flat(u16 selector, u32 access, u32 limit = 0xFFFFFFFF) {
        return Segment{.selector = selector, .limit = limit, .access = access, .base = 0};
    }

    void enter(Mode mode, u8 cpl) {
        const u32 dpl = u32(cpl) << 5;
        const bool user = cpl == 3;
        identity_map();
        if (mode == Mode::real16) {
            for (unsigned i = 0; i < 6; ++i) cpu.seg[i] = flat(0, 0x93, 0xFFFF);
            cpu.segment(Seg::cs).access = 0x9B;
            cpu.cr0 = cr0_bits::et | cr0_bits::ne;
        } else {
            const u32 size = mode == Mode::long64 ? 0xA000u : mode == Mode::protected32 ? 0xC000u : 0u;
            const u32 data_size = mode == Mode::protected16 ? 0u : 0xC000u;
            const u32 limit = mode == Mode::protected16 ? 0xFFFFu : 0xFFFFFFFFu;
            cpu.segment(Seg::cs) = flat(user ? user_code_selector : code_selector, 0x9B | dpl | size, limit);
            for (const Seg s : {Seg::ss, Seg::ds, Seg::es, Seg::fs, Seg::gs})
                cpu.segment(s) =
                    flat(user ? user_data_selector : data_selector, 0x93 | dpl | data_size, limit);
            cpu.cr0 = cr0_bits::pe | cr0_bits::et | cr0_bits::ne | cr0_bits::mp | cr0_bits::wp;
            cpu.cr4 = cr4_bits::osfxsr | cr4_bits::osxmmexcpt | cr4_bits::osxsave | cr4_bits::pae;
            if (mode == Mode::long64) {
                cpu.cr0 |= cr0_bits::pg;
                cpu.cr3 = tables;
                cpu.efer = efer_bits::sce | efer_bits::lme | efer_bits::lma | efer_bits::nxe;
            }
            write_gdt(size, data_size, limit);
        }
        cpu.xcr0 = 7;
        cpu.cpl = cpl;
        cpu.rflags = 2;
        cpu.rip = code;
        cpu.reg(Gpr::rsp) = stack_top;
        cpu.context_changed();
    }

    void write_gdt(u32 code_size, u32 data_size, u32 limit) {
        const auto descriptor = [&](unsigned index, u32 type, u32 size) {
            const u64 scaled = limit == 0xFFFFFFFF ? 0xFFFFF : limit;
            const u64 granular = limit == 0xFFFFFFFF ? 0x8000 : 0;
            poke<u64>(gdt + 8 * index,
                      (scaled & 0xFFFF) | (u64(type | size | granular) << 40) | ((scaled >> 16) << 48));
        };
        poke<u64>(gdt, 0);
        descriptor(1, 0x9B, code_size);
        descriptor(2, 0x93, data_size);
        descriptor(3, 0xFB, code_size);
        descriptor(4, 0xF3, data_size);
        cpu.gdtr = {gdt, 39};
    }

    void identity_map() {
        memory.write64(tables, (tables + 0x1000) | 7);
        memory.write64(tables + 0x1000, (tables + 0x2000) | 7);
        for (u64 a = 0; a < ram_bytes; a += 2ull << 20)
            memory.write64(tables + 0x2000 + 8 * (a >> 21), a | 0x87);
        next_table_ = tables + 0x3000;
    }

    Deadline deadline_;
    u64 next_table_ = tables + 0x3000;
    std::unique_ptr<ThunkCache> thunk_cache_;
};

}  // namespace droste::test
