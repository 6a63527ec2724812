// SPDX-License-Identifier: Apache-2.0
// BlockCache: decoded blocks by physical address and mode, their invalidation when code is written, and the jump cache.
#pragma once
#include <array>
#include <memory>
#include <vector>

#include "cpu/cpu.h"
#include "cpu/decode/decoder.h"
#include "cpu/insn.h"
#include "cpu/thunk/thunk.h"

namespace droste {

/// Rows that no table has: what the builder puts where decoding ends otherwise. Values of Insn::op.
namespace pseudo_op {
inline constexpr u16 end_of_block = 0xFFFF;
inline constexpr u16 undefined = 0xFFFE;           ///< #UD
inline constexpr u16 missing_endbranch = 0xFFFC;   ///< an indirect branch led to something else than ENDBRANCH
inline constexpr u16 general_protection = 0xFFFD;  ///< #GP(0): too long, or privileged in user mode
}  // namespace pseudo_op

class BlockCache final : public CodeWatcher {
public:
    BlockCache(const Isa& isa, const CpuModel& model, PhysicalMemory& memory);
    ~BlockCache() override;

    /// The processors that execute these blocks, and whose first-level tables may let them write.
    void attach(Mmu& mmu) { mmus_.push_back(&mmu); }
    void detach(Mmu& mmu) { std::erase(mmus_, &mmu); }
    /// Stores to the page take the slow path from now on, as long as PhysicalMemory says that it holds code or a
    /// monitored line.
    void forbid_fast_writes(u64 machine_page) {
        for (Mmu* m : mmus_) m->drop_write_tags(machine_page);
    }

    /// The block at `linear` (RIP plus CS base) for the present mode, decoded if needed. Null: the fetch failed and
    /// the CPU's pending fault or memory exit is set.
    Block* find(Cpu& cpu, u64 linear);
    /// Cheap look for the next block: jump cache and fetch TLB must both know it. Null: use find().
    Block* find_fast(const Cpu& cpu, u64 linear) const {
        const JumpEntry& e = jumps_[jump_slot(linear)];
        if (e.linear != linear || e.block->mode != cpu.mode) return nullptr;
        const FetchTlb::Entry& t = cpu.fetch_tlb->entry[FetchTlb::slot(linear)];
        if (t.tag + (linear >> 12) != 0 || t.machine_page != (e.block->phys & ~0xFFFull)) return nullptr;
        return e.block;
    }
    /// Semantics of a decoded instruction, also of the pseudo rows.
    Body body_of(const Insn& in) const;

    void code_overwritten(u64 frame, u64 granules) override;
    /// Frees everything; only between blocks. Done by find() when the pool is full.
    void clear();
    /// Told which blocks are gone.
    void set_jit(Jit* jit) { jit_ = jit; }
    std::size_t pool_bytes_used() const { return used_; }

private:
    struct JumpEntry {
        u64 linear;
        Block* block;
    };
    static constexpr std::size_t jump_entries = 1u << 14;
    static constexpr std::size_t table_entries = 1u << 18;
    static constexpr std::size_t pool_bytes = 96u << 20;
    static std::size_t jump_slot(u64 linear) { return (linear ^ (linear >> 14)) & (jump_entries - 1); }
    static std::size_t hash(u64 phys, u32 mode) {
        return ((phys ^ (u64(mode) << 40)) * 0x9E3779B97F4A7C15ull) >> (64 - 18);
    }
    Block* build(Cpu& cpu, u64 linear, u64 phys, const u8* page);
    Block* build_single(Cpu& cpu, u64 linear, std::span<const u8> bytes);
    /// Fills `out`; false when the bytes end before the instruction does.
    bool translate(Cpu& cpu, std::span<const u8> bytes, u16 offset, Insn& out, bool& ends);
    void finish(Insn& sentinel, u16 offset);
    void insert(Block* b);

    const Isa& isa_;
    const CpuModel& model_;
    PhysicalMemory& memory_;
    std::vector<Mmu*> mmus_;
    ThunkCache thunks_;
    std::vector<JumpEntry> jumps_;
    std::vector<Block*> table_;        // open addressing by hash(phys, mode)
    std::size_t table_used_ = 0;
    std::vector<Block*> in_frame_;     // first block of each RAM frame
    std::unique_ptr<u8[]> pool_;
    std::size_t used_ = 0;
    std::vector<std::vector<u8>> single_;  // ring of one-instruction blocks that span pages or lie outside RAM
    std::size_t next_single_ = 0;
    Jit* jit_ = nullptr;
    Block nowhere_{};                  // what empty jump entries point to
};

}  // namespace droste
