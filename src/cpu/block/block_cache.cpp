// SPDX-License-Identifier: Apache-2.0
// Building, finding and invalidating blocks.
#include "cpu/block/block_cache.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "cpu/cet.h"
#include "cpu/decode/lower.h"
#include "cpu/interp/handlers.h"
#include "cpu/jit/jit.h"

namespace droste {

namespace {

Outcome undefined_opcode(Cpu& cpu, const Insn&) { return cpu.ud(); }
Outcome general_protection(Cpu& cpu, const Insn&) { return cpu.gp0(); }
/// The sentinel of a block that falls through: not an instruction, takes no tick.
Outcome end_of_block(Cpu& cpu, const Insn& in) {
    cpu.rip = cpu.rip_mask(cpu.gpr[slot_rip] + in.offset);
    return Outcome::branch;
}

/// SDM "Legacy Compatibility Treatment": a bit map tells the pages of code without ENDBRANCH.
bool legacy_page(Cpu& cpu, u64 linear, bool& legacy) {
    const u64 control = cet_now(cpu, cpu.cpl);
    legacy = false;
    if (!(control & cet_bits::leg_iw_en)) return true;
    const u64 width_mask = (1ull << (cpu.cr4 & cr4_bits::la57 ? 57 : 48)) - 1;
    u8 byte = 0;
    if (!cpu.load(seg_none, (control & cet_bits::bitmap_base) + ((linear & width_mask) >> 15), byte)) return false;
    legacy = bit(byte, bits(linear, 14, 12));
    return true;
}

/// Legacy code goes on as if nothing waited; else #CP.
Outcome missing_endbranch(Cpu& cpu, const Insn& in) {
    const u64 start = cpu.insn_rip(in);
    const u64 linear = cpu.ea_base_cs() + start;
    bool legacy = false;
    if (!legacy_page(cpu, linear, legacy)) return cpu.failed();
    if (!legacy) return cpu.raise(Fault::of(Vector::cp, cp_code::endbranch));
    u64& control = cet_control(cpu, cpu.cpl);
    control &= ~cet_bits::tracker;
    if (!(control & cet_bits::suppress_dis)) control |= cet_bits::suppress;
    cpu.mode &= ~mode_bits::endbranch;
    // The instruction itself, which is one tick together with this check.
    const Block* b = cpu.blocks->find(cpu, linear);
    if (b == nullptr) return cpu.failed();
    const Insn real = b->insn[0];
    const Outcome o = cpu.blocks->body_of(real)(cpu, real);
    if (o != Outcome::next) return o;
    cpu.rip = cpu.next_rip(real);
    return Outcome::branch;
}

constexpr Code missing_endbranch_code = code<missing_endbranch>();
constexpr Code undefined_code = code<undefined_opcode>();
constexpr Code general_protection_code = code<general_protection>();
constexpr Code end_code = code<end_of_block>();

std::size_t block_size(unsigned insns) { return sizeof(Block) + insns * sizeof(Insn); }

/// What a waiting tracker accepts: ENDBRANCH of the code's width, and INT3, which a debugger may have put in its place.
bool ends_tracking(const Decoded& d, u32 mode) {
    const bool is64 = (mode & mode_bits::code_mask) == mode_bits::code64;
    if (d.row->traits & traits::endbranch) return (d.modrm == 0xFA) == is64;
    return d.row->encoding.map == 0 && d.row->encoding.opcode == 0xCC;
}

/// 64-byte lines touched by [offset, offset + bytes) of a page.
u64 granules_of(unsigned offset, unsigned bytes) {
    const unsigned first = offset >> 6, last = (offset + bytes - 1) >> 6;
    return (~0ull >> (63 - (last - first))) << first;
}

}  // namespace

BlockCache::BlockCache(const Isa& isa, const CpuModel& model, PhysicalMemory& memory)
    : isa_(isa), model_(model), memory_(memory), jumps_(jump_entries), table_(table_entries),
      in_frame_((memory.ram_bytes() >> 12) + 1), pool_(new u8[pool_bytes]), single_(4) {
    for (auto& s : single_) s.resize(block_size(1) + 64);
    nowhere_.mode = ~0u;
    clear();
    memory_.set_code_watcher(this);
}

BlockCache::~BlockCache() { memory_.set_code_watcher(nullptr); }

void BlockCache::clear() {
    if (jit_ != nullptr) jit_->flush();
    std::fill(jumps_.begin(), jumps_.end(), JumpEntry{~0ull, &nowhere_});
    std::fill(table_.begin(), table_.end(), nullptr);
    table_used_ = 0;
    for (std::size_t i = 0; i + 1 < in_frame_.size(); ++i)
        if (in_frame_[i] != nullptr) {
            const u64 phys = in_frame_[i]->phys == ~0ull ? 0 : in_frame_[i]->phys;
            if (phys != 0) memory_.clear_code(phys & ~0xFFFull);
            in_frame_[i] = nullptr;
        }
    used_ = 0;
    if (thunks_.full()) thunks_.reset();
}

Body BlockCache::body_of(const Insn& in) const {
    switch (in.op) {
    case pseudo_op::end_of_block: return end_code.body;
    case pseudo_op::undefined: return undefined_code.body;
    case pseudo_op::missing_endbranch: return missing_endbranch_code.body;
    case pseudo_op::general_protection: return general_protection_code.body;
    default: break;
    }
    const InsnRow& row = isa_.row(in.op);
    if (row.traits & traits::host_thunk) return in.thunk->code.body;
    return row.run.by[in.mem()][in.osz()].body;
}

Block* BlockCache::find(Cpu& cpu, u64 linear) {
    Translation t;
    FetchTlb::Entry& e = cpu.fetch_tlb->entry[FetchTlb::slot(linear)];
    u64 phys;
    const u8* page;
    if (e.tag + (linear >> 12) == 0) {
        phys = e.machine_page | (linear & 0xFFF);
        page = e.host;
    } else {
        if (!cpu.translate_fetch(linear, t)) return nullptr;
        phys = t.machine_page | (linear & 0xFFF);
        page = t.host;
    }
    if (page != nullptr)
        for (std::size_t i = hash(phys, cpu.mode);; ++i) {
            Block* b = table_[i & (table_entries - 1)];
            if (b == nullptr) break;
            if (b->phys == phys && b->mode == cpu.mode) {
                jumps_[jump_slot(linear)] = {linear, b};
                return b;
            }
        }
    return build(cpu, linear, phys, page);
}

bool BlockCache::translate(Cpu& cpu, std::span<const u8> bytes, u16 offset, Insn& out, bool& ends) {
    Decoded d;
    const auto pseudo = [&](u16 op, Code what) {
        out = Insn{};
        out.op = op;
        out.offset = offset;
        out.h = what.fast;
        out.base = out.index = slot_zero;
        ends = true;
        return true;
    };
    switch (isa_.decode(bytes, cpu.mode, d, &model_.features)) {
    case DecodeStatus::truncated: return false;
    case DecodeStatus::undefined: return pseudo(pseudo_op::undefined, undefined_code);
    case DecodeStatus::too_long: return pseudo(pseudo_op::general_protection, general_protection_code);
    case DecodeStatus::ok: break;
    }
    const InsnRow& row = *d.row;
    if (!enumerated(d, model_.features)) return pseudo(pseudo_op::undefined, undefined_code);
    const bool tracked = cpu.mode & mode_bits::endbranch;
    if (tracked && !ends_tracking(d, cpu.mode))
        return pseudo(pseudo_op::missing_endbranch, missing_endbranch_code);
    lower(d, cpu.mode, offset, out);
    if ((row.traits & traits::privileged) && (cpu.mode & mode_bits::user))
        return pseudo(pseudo_op::general_protection, general_protection_code);
    if (row.traits & traits::host_thunk) {
        out.thunk = thunks_.call_for(d, cpu.mode);
        out.h = out.thunk->code.fast;
    } else {
        out.h = row.run.by[out.mem()][out.osz()].fast;
        if (out.h == nullptr) return pseudo(pseudo_op::undefined, undefined_code);
    }
    ends = (row.traits & traits::ends_block) || tracked;
    return true;
}

void BlockCache::finish(Insn& sentinel, u16 offset) {
    sentinel = Insn{};
    sentinel.op = pseudo_op::end_of_block;
    sentinel.offset = offset;
    sentinel.h = end_code.fast;
    sentinel.base = sentinel.index = slot_zero;
}

Block* BlockCache::build(Cpu& cpu, u64 linear, u64 phys, const u8* page) {
    const unsigned offset = phys & 0xFFF;
    std::array<u8, max_insn_bytes> bytes{};
    if (thunks_.full()) clear();
    if (page == nullptr) {  // code outside RAM: fetched from the bus for each execution
        const unsigned n = std::min(4096 - offset, max_insn_bytes);
        for (unsigned i = 0; i < n; ++i)
            bytes[i] = static_cast<u8>(memory_.mmio().read(MachinePhys(phys + i), Width::byte));
        return build_single(cpu, linear, std::span(bytes).first(n));
    }
    if (used_ + block_size(max_block_insns + 1) > pool_bytes || table_used_ > table_entries / 2) clear();
    auto* b = new (pool_.get() + used_) Block{};
    b->phys = phys;
    b->mode = cpu.mode;
    unsigned at = 0;
    bool ends = false;
    while (!ends && b->n < max_block_insns && offset + at < 4096) {
        const unsigned left = std::min(4096 - offset - at, max_insn_bytes);
        if (!translate(cpu, std::span(page + offset + at, left), static_cast<u16>(at), b->insn[b->n], ends)) break;
        at += b->insn[b->n].len;
        ++b->n;
    }
    if (b->n == 0)  // the instruction continues on the next page
        return build_single(cpu, linear, std::span(page + offset, 4096 - offset));
    b->bytes = static_cast<u16>(std::max(at, 1u));
    finish(b->insn[b->n], static_cast<u16>(at));
    b->granules = granules_of(offset, std::min<unsigned>(b->bytes, 4096 - offset));
    used_ += (block_size(b->n) + 63) & ~std::size_t{63};
    insert(b);
    jumps_[jump_slot(linear)] = {linear, b};
    return b;
}

void BlockCache::insert(Block* b) {
    std::size_t i = hash(b->phys, b->mode);
    while (table_[i & (table_entries - 1)] != nullptr) ++i;
    table_[i & (table_entries - 1)] = b;
    ++table_used_;
    Block*& head = in_frame_[memory_.frame_index(b->phys)];
    b->next_in_frame = head;
    head = b;
    if (!memory_.has_code(b->phys)) forbid_fast_writes(b->phys & ~0xFFFull);
    memory_.add_code(b->phys, b->granules);
}

Block* BlockCache::build_single(Cpu& cpu, u64 linear, std::span<const u8> head) {
    std::array<u8, max_insn_bytes> bytes{};
    std::copy_n(head.begin(), std::min<std::size_t>(head.size(), max_insn_bytes), bytes.begin());
    std::size_t have = std::min<std::size_t>(head.size(), max_insn_bytes);
    next_single_ = (next_single_ + 1) % single_.size();
    auto* b = reinterpret_cast<Block*>((reinterpret_cast<std::uintptr_t>(single_[next_single_].data()) + 63) & ~63ull);
    new (b) Block{};
    b->phys = ~0ull;  // found by nobody else
    b->mode = cpu.mode;
    bool ends = false;
    if (!translate(cpu, std::span(bytes).first(have), 0, b->insn[0], ends)) {
        Translation t;
        u64 next = (linear & ~0xFFFull) + 4096;
        if (!cpu.code64()) next &= 0xFFFFFFFF;
        if (!cpu.translate_fetch(next, t)) return nullptr;
        for (unsigned i = 0; have < max_insn_bytes; ++have, ++i)
            bytes[have] = t.host != nullptr
                              ? t.host[i]
                              : static_cast<u8>(memory_.mmio().read(MachinePhys(t.machine_page + i), Width::byte));
        const bool whole = translate(cpu, bytes, 0, b->insn[0], ends);
        ASSERT(whole);
    }
    b->n = 1;
    b->bytes = b->insn[0].len;
    finish(b->insn[1], b->bytes);
    return b;
}

void BlockCache::code_overwritten(u64 frame, u64 granules) {
    const u64 page = frame << 12;
    Block** link = &in_frame_[memory_.frame_index(page)];
    u64 left = 0;
    while (Block* b = *link) {
        if ((b->granules & granules) == 0) {
            left |= b->granules;
            link = &b->next_in_frame;
            continue;
        }
        *link = b->next_in_frame;
        if (b->host != nullptr && jit_ != nullptr) jit_->invalidate(*b);
        b->phys = ~0ull;
        b->mode = ~0u;
        // A running copy of the block stops before its next instruction.
        for (unsigned i = 0; i <= b->n; ++i) b->insn[i].h = &stale_block;
    }
    memory_.clear_code(page);
    memory_.add_code(page, left);
}

}  // namespace droste
