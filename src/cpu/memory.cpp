// SPDX-License-Identifier: Apache-2.0
// Memory accesses that missed the first-level TLB: checks, translation of every page before any byte moves,
// devices.
#include <algorithm>
#include <cstring>

#include "cpu/block/block_cache.h"
#include "cpu/cpu.h"
#include "cpu/debug.h"
#include "cpu/linear_address.h"

namespace droste {
namespace {

constexpr u64 page_bytes = 4096;
constexpr u64 page_offset = page_bytes - 1;

/// Widest access of 1, 2, 4 or 8 bytes within `left` bytes.
Width widest(unsigned left) {
    return left >= 8 ? Width::qword : left >= 4 ? Width::dword : left >= 2 ? Width::word : Width::byte;
}

void charge_walks(Cpu& cpu, const WalkCounters& before) {
    const WalkCounters& now = cpu.mmu.counters;
    if (now.references == before.references && now.ept_references == before.ept_references) return;
    const u64 cycles =
        (now.references - before.references) * cpu.costs[CostEvent::page_walk_reference] +
        (now.ept_references - before.ept_references) * cpu.costs[CostEvent::ept_walk_reference];
    if (cycles != 0) cpu.charge_cycles(cycles);
}

bool translation_failed(Cpu& cpu, unsigned s, const WalkFault& fault) {
    switch (fault.kind) {
    case WalkFault::Kind::page_fault:
        cpu.memory_fault = fault;
        cpu.pending_fault = Fault::of(Vector::pf, fault.error_code);
        break;
    case WalkFault::Kind::non_canonical:
        cpu.pending_fault = Fault::of(s == static_cast<unsigned>(Seg::ss) ? Vector::ss : Vector::gp, 0);
        break;
    default:
        cpu.memory_fault = fault;
        cpu.pending_memory_exit = true;
        break;
    }
    return false;
}

/// One access of an instruction, in pieces by page. prepare() finds every fault; only then bytes move.
class SlowAccess {
public:
    explicit SlowAccess(Cpu& cpu) : cpu_(cpu) {}

    bool prepare(unsigned s, u64 linear, unsigned size, Access access, Privilege privilege, Intent intent) {
        const bool wide = intent == Intent::explicit_access ? cpu_.code64() : cpu_.long_mode();
        if (!wide) {
            linear &= 0xFFFF'FFFF;
        } else {
            if (intent == Intent::explicit_access) linear = without_metadata(cpu_, linear);
            // SDM "Canonical Addressing": #SS(0) for the stack segment, #GP(0) for the others.
            const unsigned width = cpu_.cr4 & cr4_bits::la57 ? 57 : 48;
            const u64 last = linear + size - 1;
            if (sign_extend(linear, width) != linear || sign_extend(last, width) != last) {
                WalkFault fault;
                fault.kind = WalkFault::Kind::non_canonical;
                return translation_failed(cpu_, s, fault);
            }
        }
        if (violates_lass(cpu_, linear, privilege, intent)) [[unlikely]] {
            WalkFault fault;
            fault.kind = WalkFault::Kind::non_canonical;
            return translation_failed(cpu_, s, fault);
        }
        if (intent == Intent::explicit_access && !aligned(linear, size)) {
            cpu_.pending_fault = Fault::of(Vector::ac, 0);
            return false;
        }
        if (intent == Intent::explicit_access) cpu_.mmu.set_ac(cpu_.rflags & rflags_bits::ac);
        count_ = 0;
        const unsigned first =
            static_cast<unsigned>(std::min<u64>(size, page_bytes - (linear & page_offset)));
        if (!add(s, linear, first, access, privilege, intent)) return false;
        if (first == size) return true;
        const u64 second = linear + first;
        return add(s, wide ? second : second & 0xFFFF'FFFF, size - first, access, privilege, intent);
    }

    bool load(void* to) {
        u8* out = static_cast<u8*>(to);
        for (unsigned i = 0; i < count_; ++i) {
            const Piece& p = piece_[i];
            if (p.where.host != nullptr && !p.where.apic_access)
                std::memcpy(out, p.where.host + p.offset, p.size);
            else if (!load_device(p, out)) return false;
            out += p.size;
        }
        return true;
    }

    bool store(const void* from) {
        const u8* in = static_cast<const u8*>(from);
        // What may end in a VM exit comes before what cannot be undone.
        const bool second_first = count_ == 2 && piece_[1].where.apic_access;
        for (unsigned n = 0; n < count_; ++n) {
            const unsigned i = second_first ? 1 - n : n;
            const Piece& p = piece_[i];
            const u8* bytes_in = i == 0 ? in : in + piece_[0].size;
            if (p.where.host != nullptr && !p.where.apic_access) {
                cpu_.memory.about_to_write(p.where.machine_page + p.offset, p.size);
                std::memcpy(p.where.host + p.offset, bytes_in, p.size);
            } else if (!store_device(p, bytes_in)) {
                return false;
            }
        }
        return true;
    }

private:
    struct Piece {
        Translation where;
        unsigned offset, size;
    };

    /// SDM "Alignment Checking": at privilege level 3 with CR0.AM and EFLAGS.AC, by the size of the operand.
    bool aligned(u64 linear, unsigned size) const {
        if (cpu_.cpl != 3 || !(cpu_.rflags & rflags_bits::ac) || !(cpu_.cr0 & cr0_bits::am)) return true;
        return (size != 2 && size != 4 && size != 8) || (linear & (size - 1)) == 0;
    }

    bool add(unsigned s, u64 linear, unsigned size, Access access, Privilege privilege, Intent intent) {
        Piece& p = piece_[count_++];
        p.offset = static_cast<unsigned>(linear & page_offset);
        p.size = size;
        WalkFault fault;
        const WalkCounters before = cpu_.mmu.counters;
        const bool ok = cpu_.mmu.translate_data(Linear(linear), access, privilege, intent, p.where, fault);
        charge_walks(cpu_, before);
        if (!ok) [[unlikely]]
            return translation_failed(cpu_, s, fault);
        // Sub-page write permissions: every 128-byte piece that is written needs its own.
        if (p.where.sub_page && ((linear ^ (linear + size - 1)) & ~0x7Full) != 0) {
            Translation last;
            if (!cpu_.mmu.translate_data(Linear(linear + size - 1), access, privilege, intent, last, fault))
                return translation_failed(cpu_, s, fault);
        }
        const bool device = p.where.host == nullptr || p.where.apic_access;
        if (device && cpu_.block != nullptr && intent == Intent::explicit_access && !cpu_.vectoring.active)
            [[unlikely]] {
            // Devices and VMX want the exact time and instruction pointer: have the instruction stepped.
            cpu_.retry_stepped = true;
            return false;
        }
        return true;
    }

    /// Who serves an access to the APIC-access page.
    enum class Taken : u8 { no, yes, ended /* in a VM exit or a fault */ };
    Taken apic_access(const Piece& p, unsigned offset, Access access, Width w, u64& value) {
        if (!p.where.apic_access || !cpu_.non_root) return Taken::no;
        const Decision d = cpu_.hooks->apic_access(offset, access, w, value, p.where.guest_page + offset);
        switch (d.kind) {
        case Decision::Kind::proceed: return Taken::no;
        case Decision::Kind::done: value = d.value; return Taken::yes;
        case Decision::Kind::exited: cpu_.access_exited = true; return Taken::ended;
        case Decision::Kind::fault: cpu_.pending_fault = Fault::of(Vector::gp, 0); return Taken::ended;
        }
        return Taken::no;
    }

    bool load_device(const Piece& p, u8* out) {
        cpu_.charge(CostEvent::mmio);
        for (unsigned done = 0; done < p.size;) {
            const Width w = widest(p.size - done);
            const unsigned offset = p.offset + done;
            u64 v = 0;
            const Taken taken = apic_access(p, offset, Access::read, w, v);
            if (taken == Taken::ended) return false;
            if (taken == Taken::no) v = cpu_.memory.read(p.where.machine_page + offset, w);
            std::memcpy(out + done, &v, bytes(w));
            done += bytes(w);
        }
        return true;
    }

    bool store_device(const Piece& p, const u8* in) {
        cpu_.charge(CostEvent::mmio);
        for (unsigned done = 0; done < p.size;) {
            const Width w = widest(p.size - done);
            const unsigned offset = p.offset + done;
            u64 v = 0;
            std::memcpy(&v, in + done, bytes(w));
            u64 written = v;
            const Taken taken = apic_access(p, offset, Access::write, w, written);
            if (taken == Taken::ended) return false;
            if (taken == Taken::no) cpu_.memory.write(p.where.machine_page + offset, w, v);
            done += bytes(w);
        }
        return true;
    }

    Cpu& cpu_;
    unsigned count_ = 0;
    std::array<Piece, 2> piece_;
};

Privilege privilege(const Cpu& cpu) { return cpu.cpl == 3 ? Privilege::user : Privilege::supervisor; }

}  // namespace

bool Cpu::load_slow(unsigned s, u64 linear, void* v, unsigned size) {
    SlowAccess a(*this);
    if (!a.prepare(s, linear, size, Access::read, privilege(*this), Intent::explicit_access) || !a.load(v))
        return false;
    if (dr7 & dr7_bits::enables) [[unlikely]]
        note_data_access(*this, linear, size, Access::read);
    return true;
}

bool Cpu::store_slow(unsigned s, u64 linear, const void* v, unsigned size) {
    SlowAccess a(*this);
    if (!a.prepare(s, linear, size, Access::write, privilege(*this), Intent::explicit_access) || !a.store(v))
        return false;
    if (dr7 & dr7_bits::enables) [[unlikely]]
        note_data_access(*this, linear, size, Access::write);
    return true;
}

// The store that follows notes the access.
bool Cpu::rmw_load_slow(unsigned s, u64 linear, void* v, unsigned size) {
    SlowAccess a(*this);
    return a.prepare(s, linear, size, Access::write, privilege(*this), Intent::explicit_access) && a.load(v);
}

// SDM "Locked Atomic Operations": a bus lock is asserted by a locked access that crosses a cache line, and by
// one of memory that is not write-back. What is no RAM counts as such.
void Cpu::locked_access(u64 linear, unsigned size) {
    u64 machine = 0;
    const bool split = (linear & 63) + size > 64;
    const bool uncacheable =
        mmu.peek(Linear(linear), machine) && memory.host(machine & ~page_offset) == nullptr;
    if (!split && !uncacheable) return;
    if (vmm_watches_bus_locks) hooks->bus_locked();
    if ((debugctl & debugctl_bits::bus_lock) && cpl != 0) {  // SDM "OS Bus-Lock Detection"
        pending_debug |= pending_debug_bits::bld | pending_debug_bits::enabled;
        set_attention();
    }
    // Out of the middle of a block: the exit comes right after this instruction.
    if (block != nullptr) blocks->code_overwritten(block->phys >> 12, block->granules);
}

bool Cpu::system_access(u64 linear, void* data, unsigned size, Access access) {
    const TlbClass& t = mmu.data(DataClass::supervisor);
    const unsigned i = TlbClass::slot(linear);
    const u64 page_of_last = (linear + size - 1) >> 12;
    if (access == Access::write) {
        if (t.write_tag[i] + page_of_last == 0) {
            std::memcpy(reinterpret_cast<void*>(linear + t.addend[i]), data, size);
            return true;
        }
    } else if (t.read_tag[i] + page_of_last == 0) {
        std::memcpy(data, reinterpret_cast<const void*>(linear + t.addend[i]), size);
        return true;
    }
    SlowAccess a(*this);
    if (!a.prepare(seg_none, linear, size, access, Privilege::supervisor, Intent::implicit_access))
        return false;
    return access == Access::write ? a.store(data) : a.load(data);
}

bool Cpu::probe_write(unsigned s, u64 linear, unsigned size) {
    SlowAccess a(*this);
    return a.prepare(s, linear, size, Access::write, privilege(*this), Intent::explicit_access);
}

bool Cpu::probe_read(unsigned s, u64 linear, unsigned size) {
    SlowAccess a(*this);
    return a.prepare(s, linear, size, Access::read, privilege(*this), Intent::explicit_access);
}

bool Cpu::translate_fetch(u64 linear, Translation& t) {
    WalkFault fault;
    // SDM "Linear-Address-Space Separation (LASS)": a fetch from the half of the other privilege.
    if ((cr4 & cr4_bits::lass) && long_mode() && bit(linear, 63) == (cpl == 3)) [[unlikely]] {
        fault.kind = WalkFault::Kind::non_canonical;
        fetch_failed(fault);
        return false;
    }
    const WalkCounters before = mmu.counters;
    const bool ok = mmu.translate_fetch(Linear(linear), privilege(*this), t, fault);
    charge_walks(*this, before);
    if (!ok) {
        fetch_failed(fault);
        return false;
    }
    if (!t.apic_access || !non_root) [[likely]]
        return true;
    access_length = 0;  // the instruction is not known yet
    const Decision d = hooks->apic_access(linear & page_offset, Access::execute, Width::byte, 0,
                                          t.guest_page + (linear & page_offset));
    if (d.kind != Decision::Kind::exited) return true;
    access_exited = true;
    return false;
}

u8* Cpu::bulk(u64 linear, u64 size, Access access) {
    if (tlb == &mmu.data(DataClass::none)) return nullptr;  // each element is of interest
    if (!code64()) linear &= 0xFFFF'FFFF;
    else if (without_metadata(*this, linear) != linear) return nullptr;
    if (violates_lass(*this, linear, privilege(*this), Intent::explicit_access)) return nullptr;
    if (size == 0 || (linear & page_offset) + size > page_bytes) return nullptr;
    const unsigned i = TlbClass::slot(linear);
    const u64 tag = access == Access::write ? tlb->write_tag[i] : tlb->read_tag[i];
    if (tag + (linear >> 12) == 0) return reinterpret_cast<u8*>(linear + tlb->addend[i]);
    Translation t;
    WalkFault fault;
    const WalkCounters before = mmu.counters;
    mmu.set_ac(rflags & rflags_bits::ac);
    const bool ok =
        mmu.translate_data(Linear(linear), access, privilege(*this), Intent::explicit_access, t, fault);
    charge_walks(*this, before);
    if (!ok || t.host == nullptr || t.apic_access || t.sub_page) return nullptr;
    const u64 offset = linear & page_offset;
    if (access == Access::write) memory.about_to_write(t.machine_page + offset, size);
    return t.host + offset;
}

// SDM "Limit Checking", "Type Checking" and, for real mode and virtual-8086 mode, "8086 Emulation".
bool Cpu::segmented(unsigned s, u64 ea, unsigned size, Access access, u64& linear) {
    if (code64()) {
        linear = ea_base[s] + ea;
        return true;
    }
    if (s == seg_none) {
        linear = ea & 0xFFFF'FFFF;
        return true;
    }
    const Segment& d = seg[s];
    const auto refuse = [&] {
        pending_fault = Fault::of(s == static_cast<unsigned>(Seg::ss) ? Vector::ss : Vector::gp, 0);
        return false;
    };
    if (d.unusable()) return refuse();
    const bool code = d.type() & 8;
    if (!real_or_v86()) {
        const bool writable_or_readable = d.type() & 2;  // W of data, R of code segments
        if (access == Access::write ? code || !writable_or_readable : code && !writable_or_readable) {
            pending_fault = Fault::of(Vector::gp, 0);
            return false;
        }
    }
    // An effective limit of 4 GBytes lets accesses wrap around (SDM leaves it to the implementation).
    const u64 last = ea + size - 1;
    const bool expand_down = !code && (d.type() & 4) && !v86();
    if (expand_down) {
        const u64 top = d.db() ? 0xFFFF'FFFF : 0xFFFF;
        if (ea <= d.limit || last > top) return refuse();
    } else if (last > d.limit && d.limit != 0xFFFF'FFFF) {
        return refuse();
    }
    linear = (d.base + ea) & 0xFFFF'FFFF;
    return true;
}

}  // namespace droste
